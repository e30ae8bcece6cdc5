"""What every test shares: Hypothesis profiles. Fixtures live beside the tests that use them.

Property tests run without a per-example deadline, because a test asserts no times. HYPOTHESIS_PROFILE=deep
runs twenty times the examples.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "default", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("deep", parent=settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
