"""What clients do while faults run: the generator's operations, asked through the SDK and written down.

recorder.py   the run's record and its clock
sdk_calls.py  one operation of the generator as calls of the SDK
process.py    one client: asks, waits, writes down; retires when an outcome is not known
crowd.py      all clients of a run, their pace, and the final reads
watchers.py   watches, what they show, and the changes they are judged by
observing.py  what replicas say: leaders, digests, entries
"""
