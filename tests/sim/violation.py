"""What a schedule can prove wrong."""

from __future__ import annotations


class Violation(AssertionError):
    """An invariant does not hold. `invariant` is its name in docs/evidence/simulator.md."""

    def __init__(self, invariant: str, message: str) -> None:
        super().__init__(f"{invariant}: {message}")
        self.invariant = invariant


# One leader of a group in a term, by votes for that term; one vote of a node in a term, over restarts.
ONE_LEADER = "one leader a term"
ELECTED = "a leader has its term's votes"
ONE_VOTE = "one vote a term"
KEPT_VOTE = "a vote outlasts a restart"
# No barrier round has the name of an earlier one.
ONE_NONCE = "a nonce names one round"
# The same (index, term) means the same entry after the same entry, in every log that ever was.
LOG_MATCHING = "log matching"
# A reply counts in the term in which it was said, and in no later one.
OLD_REPLY = "a reply counts in its term"
# What a leader counts on a follower is in that follower's log.
TRUE_MATCH = "match is true"
# What was applied at an index is applied there for ever, by everyone.
ONE_COMMAND = "one command an index"
COMMIT_ORDER = "commit and applied move on"
# When a write is acknowledged, a majority holds its entry in bytes that a sync has made durable.
DURABLE = "acknowledged is durable on a majority"
LEADER_COMPLETE = "every leader has what was applied"
# State, results and digest are what the obvious model and the other replicas have at that index.
SAME_STATE = "same index, same state"
ANSWERS = "answers are the log's"
LINEARIZABLE = "linearizable reads"
SESSION = "session reads"
BOUNDED = "bounded reads"
ANSWERED = "asked once, answered once, in time"
SWALLOWED = "no exception is swallowed"
EXPIRED_LATE = "what is due expires"
EXACTLY_ONCE = "exactly once"
TTL_EARLY = "TTL never early"
REPLICA_STOPPED = "no replica stops"
# Over a reshape: who starts may start, begins with what its sources ended with, and nobody lets go too early.
ONE_OWNER = "one owner a key"
HANDED_OVER = "a target begins as its sources ended"
SOURCES_KEPT = "sources stay until all targets stand"
PLACEMENT_FOLLOWS = "placement follows the logs"
# Of the groups that are the placement group one after another, the one that is not sealed.
ONE_PLACEMENT = "one placement group decides"
SPIN = "no loop spins"
CONVERGENCE = "all converge"
LIVENESS = "writes go on after healing"


class CallerFails(RuntimeError):
    """A caller's callback that raises, as a cancelled future does. No defect of the product."""
