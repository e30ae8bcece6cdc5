"""holdfast_chaos: breaks a real cluster on purpose, and judges what its clients saw.

A run writes a *record*, JSON Lines (`record.py`); checkers judge it afterwards, so that a saved record can
be judged again, by others too: `python -m holdfast_chaos check FILE`. What is promised is in docs/guide;
which checker holds which promise is in `judging.py`.

Pure but for `record_file.py` and the command line: no clock, no network, and chance only as a seeded
generator that is handed in.
"""
