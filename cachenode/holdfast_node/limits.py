"""Every bound of a node, with its unit and its reason, and the asserts that relate them.

Invariant: a queue, table or message without a bound here does not exist. Each bound says what happens
when it is hit; nothing ever hangs or drops a connection for a bound.
Bounds that replicas read while they apply (those of entries, exactly once and state) decide what they do:
changing one needs a new `commands.VERSION`, or replicas of two releases would differ.
Not here: times that steer elections (config) and bounds of the WAL and the transport (holdfast_raft).
After TigerBeetle's constants.zig.
"""

from __future__ import annotations

from typing import Final

from holdfast import keys
from holdfast.units import HASH_BYTES

KIB: Final = 1024
MIB: Final = 1024 * 1024

# ---- addresses (refused INVALID, or at the start) -----------------------------------------------------

# The other nodes reach a node at its gRPC port + this (decision 0008).
PEER_PORT_ABOVE: Final = 10_000
GRPC_PORT_MAX: Final = 65_535 - PEER_PORT_ABOVE

# ---- one operation (refused INVALID, the field is named) ---------------------------------------------

KEY_BYTES_MAX: Final = keys.KEY_BYTES_MAX
# Where a key of a hashed namespace stands: the hash of its unit goes before it. What clients send is
# bounded by the above; the state machine never sees more than this.
PLACE_BYTES_MAX: Final = KEY_BYTES_MAX + HASH_BYTES
# A setting, not a file: one value must never stall a stream or an append for longer than a few ms.
VALUE_BYTES_MAX: Final = keys.VALUE_BYTES_MAX
# Room for the key and the fields around the largest value.
OPERATION_BYTES_MAX: Final = VALUE_BYTES_MAX + 4 * KIB
# Below 10 ms expiry could not keep its promise of 100 ms in any useful way; ten years is "for ever" typed
# by accident, as 0 already means for ever.
TTL_MS_MIN: Final = 10
TTL_MS_MAX: Final = 10 * 365 * 24 * 3600 * 1000
# Age bounds beyond an hour are better said as ANY.
BOUND_MS_MAX: Final = 3_600_000
SEQUENCE_MAX: Final = 2**63 - 1
TXN_OPERATIONS_MAX: Final = 128
TXN_COMPARES_MAX: Final = 128
TXN_BYTES_MAX: Final = MIB
SCAN_ITEMS_DEFAULT: Final = 100
SCAN_ITEMS_MAX: Final = 1000
# A page ends after the item that reaches this.
SCAN_BYTES_MAX: Final = MIB
# Keys that one page may look at, hidden ones and those that are not meant among them: about 1 ms.
SCAN_LOOKS_MAX: Final = 2 * SCAN_ITEMS_MAX

# ---- streams (a frame over a bound is refused as a whole, the stream lives) ---------------------------

FRAME_BYTES_MAX: Final = 4 * MIB
# Of one gRPC message: a frame, or a full page of answers, with room. The SDK's channels have the same.
MESSAGE_BYTES_MAX: Final = 16 * MIB
FRAME_OPERATIONS_MAX: Final = 4096
# Deep enough to hide a round trip many times over; beyond it: BUSY.
FRAMES_IN_FLIGHT_MAX: Final = 64
# What all streams of a node may hold unanswered; beyond it: BUSY.
NODE_IN_FLIGHT_BYTES_MAX: Final = 256 * MIB
# And how many operations may be under way for each second that a frame may take (1 to 5): about what a node
# answers in the time, slow machines included, so that what is taken in is answered in time. Beyond it: BUSY,
# unread.
NODE_IN_FLIGHT_OPERATIONS_A_SECOND: Final = 16_384
SESSION_ID_BYTES: Final = 16
CLIENT_NAME_BYTES_MAX: Final = 128
TIMEOUT_MS_DEFAULT: Final = 5_000
TIMEOUT_MS_MAX: Final = 600_000
TOKEN_ENTRIES_MAX: Final = 1024

# ---- entries (the leader splits what is larger) ------------------------------------------------------

# An entry applies in one go: at about 5 us a key this keeps the loop's longest stall near 5 ms.
ENTRY_KEYS_MAX: Final = 1000
# Or one operation, when that is larger.
ENTRY_BYTES_MAX: Final = MIB
# A range delete above it needs `paged` (TOO_MANY_KEYS).
DELETE_KEYS_MAX: Final = ENTRY_KEYS_MAX
# Keys that a range delete may look at in a hashed namespace, where those that are meant stand among others;
# beyond it the next page goes on, and without `paged` it is TOO_MANY_KEYS.
DELETE_LOOKS_MAX: Final = 4 * ENTRY_KEYS_MAX
EXPIRE_KEYS_MAX: Final = ENTRY_KEYS_MAX
EVICT_KEYS_MAX: Final = ENTRY_KEYS_MAX
TOUCH_KEYS_MAX: Final = ENTRY_KEYS_MAX
# Keys the eviction hand may look at in one entry, as most of them may have been used lately. What is
# over the budget then waits for the next entry.
EVICT_LOOKS_MAX: Final = 4 * ENTRY_KEYS_MAX
# While eviction lags behind, a state may stand this fraction (1/n) above its budget; then writes that
# grow it are refused BUSY.
BUDGET_OVERSHOOT: Final = 8
# Samples are proposed only above this share of the budget (percent), as below it nothing is evicted.
TOUCH_BUDGET_PERCENT: Final = 80
TOUCH_INTERVAL_MS: Final = 100

# ---- exactly once (BUSY when the table is full) ------------------------------------------------------

# A write later than this may not come back: it bounds the table by rate x deadline. INVALID beyond it.
NOT_AFTER_AHEAD_MS_MAX: Final = 10 * 60 * 1000
REPEAT_TABLE_BYTES_MAX: Final = 64 * MIB
# Values kept for repeats, an operation and a session; beyond: the repeat is told PREVIOUS_NOT_KEPT.
REPEAT_VALUE_BYTES_MAX: Final = KIB
REPEAT_SESSION_VALUE_BYTES_MAX: Final = MIB
# What a record and a session count for, about what they take in memory.
REPEAT_RECORD_BYTES: Final = 192
REPEAT_SESSION_BYTES: Final = 512

# ---- state -------------------------------------------------------------------------------------------

# What a key counts for beside its key and value, about what its slot and headers take.
KEY_OVERHEAD_BYTES: Final = 64
# A dict of 512 copies in about 5 us (first write after a freeze) and splits in about 100 us.
BUCKET_KEYS_MAX: Final = 512
BUDGET_BYTES_DEFAULT: Final = 256 * MIB
HISTORY_EVENTS_MAX: Final = 1_000_000
HISTORY_EVENTS_DEFAULT: Final = HISTORY_EVENTS_MAX
HISTORY_BYTES_DEFAULT: Final = 32 * MIB
# History, logs in memory and send windows of all shards together.
NODE_BUFFER_BYTES_MAX: Final = 256 * MIB
# What an event counts for beside its key and values.
EVENT_OVERHEAD_BYTES: Final = 128
# Events that one entry may drop from history; more than one entry can add, so that lowering a bound is
# worked off over entries instead of in one stall.
HISTORY_TRIM_MAX: Final = 4 * ENTRY_KEYS_MAX
# Events that an entry looks at after a split, which hands over those of all keys: about 0.5 ms.
SIFTED_AN_ENTRY: Final = 2048
# One value of the largest size may exceed it.
CHUNK_BYTES_MAX: Final = 256 * KIB

# ---- reshape (a Seal beyond them is no entry of this program) -----------------------------------------

# A shard becomes two as a rule; each target costs the seal's turn a pass over buckets and sessions.
SEAL_TARGETS_MAX: Final = 16
SEAL_SOURCES_MAX: Final = 16
# More replicas than any quorum can use.
SEAL_REPLICAS_MAX: Final = 16
# Groups that a watch may still come from; the oldest goes, and who comes from it begins with a snapshot.
# A watcher that stayed away through sixteen reshapes has lost its history to the bounds long before.
LINEAGE_GROUPS_MAX: Final = 16

# ---- watches -----------------------------------------------------------------------------------------

WATCHERS_PER_NODE_MAX: Final = 100_000
# Bytes a slow watcher may have waiting before it is cancelled with its resume point (BUSY).
WATCHER_QUEUE_BYTES_MAX: Final = 4 * MIB

# ---- how they relate ---------------------------------------------------------------------------------

assert VALUE_BYTES_MAX + KEY_BYTES_MAX < OPERATION_BYTES_MAX, "the largest put must be an operation"
assert FRAME_BYTES_MAX >= OPERATION_BYTES_MAX + 64 * KIB, (
    "a frame must hold the largest operation and a token"
)
assert FRAME_BYTES_MAX * FRAMES_IN_FLIGHT_MAX <= NODE_IN_FLIGHT_BYTES_MAX, "one stream must fit the node"
assert NODE_IN_FLIGHT_OPERATIONS_A_SECOND >= 2 * FRAME_OPERATIONS_MAX, "two of the largest frames must fit"
assert TIMEOUT_MS_DEFAULT <= TIMEOUT_MS_MAX <= NOT_AFTER_AHEAD_MS_MAX, "a deadline must be a valid not_after"
assert TXN_OPERATIONS_MAX + TXN_COMPARES_MAX <= ENTRY_KEYS_MAX, "a transaction must fit an entry"
assert TXN_BYTES_MAX <= OPERATION_BYTES_MAX, "a transaction must be an operation"
assert HISTORY_TRIM_MAX > 2 * ENTRY_KEYS_MAX, "history must shrink faster than entries can fill it"
assert SCAN_ITEMS_DEFAULT <= SCAN_ITEMS_MAX, "the default page must be allowed"
assert REPEAT_VALUE_BYTES_MAX <= REPEAT_SESSION_VALUE_BYTES_MAX <= REPEAT_TABLE_BYTES_MAX, "parts fit wholes"
assert HISTORY_BYTES_DEFAULT <= NODE_BUFFER_BYTES_MAX, "one shard's history must fit the node"
assert BUCKET_KEYS_MAX >= 4, "a bucket must be worth splitting"
