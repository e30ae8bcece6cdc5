"""The planted bugs: safety rules broken on purpose, each of which a simulation campaign must find.

Each is as small as a real mistake. Without a fault the program goes on as before, as far as a client can
see; `shown_by` says which faults bring it out, `what` says honestly what the edits do where the rule's own
words would be hidden by another rule.
"""

from __future__ import annotations

from tests.planted.cache_bugs import CACHE_BUGS
from tests.planted.disk_bugs import DISK_BUGS
from tests.planted.found_bugs import FOUND_BUGS
from tests.planted.raft_bugs import RAFT_BUGS
from tests.planted.read_bugs import READ_BUGS
from tests.planted.reshape_bugs import RESHAPE_BUGS

BUGS = {
    bug.name: bug for bug in (*RAFT_BUGS, *DISK_BUGS, *READ_BUGS, *CACHE_BUGS, *FOUND_BUGS, *RESHAPE_BUGS)
}
