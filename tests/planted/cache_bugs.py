"""Planted bugs of the cache: exactly once, restore, time, eviction."""

from __future__ import annotations

from tests.planted.planting import Bug, Edit

CACHE_BUGS = (
    Bug(
        "dedupe-off",
        "A repeat executes again: the comparison that tells a record's end is the wrong way round.",
        "protocols.md 1",
        "An answer is lost, and the client asks again.",
        (
            Edit(
                "holdfast_node.cache.sessions",
                "        if known is None or known[1] < stamp_ms:\n",
                "        if known is None or known[1] > stamp_ms:\n",
            ),
        ),
    ),
    Bug(
        "dedupe-by-frame",
        "A frame is named and recorded by its first operation: packed with others the rest executes again, or"
        " is confirmed by that one's answer.",
        "protocols.md 1",
        "The answer to a frame of several operations is lost, and the client asks again.",
        (
            Edit(
                "holdfast_node.cache.state",
                "        return overwrites(self._space, self._sessions, session, ops, self._apply_once)\n",
                "        head = ops[0] if ops else None\n"
                "        known = session.answer(head, stamp_ms) if isinstance(head, Op) else None\n"
                "        if known is not None:\n"
                "            return [known] * len(ops)\n"
                "        once, plain = self._apply_once, self._apply_operation\n"
                "        return [once(op, session) if op is head else plain(op) for op in ops]\n",
            ),
        ),
    ),
    Bug(
        "mark-ignored",
        "A sequence below the client's own mark, whose record is dropped, executes again.",
        "protocols.md 1",
        "A frame lies in some queue until its client has long had its answer elsewhere.",
        (
            Edit(
                "holdfast_node.cache.sessions",
                "        if op.sequence < self.mark:\n",
                "        if op.sequence < self.mark and op.sequence in self.applied:\n",
            ),
        ),
    ),
    Bug(
        "session-forgotten-early",
        "A session ends when the not_after of its first run has passed, whatever later ones say.",
        "protocols.md 1",
        "An answer is lost, and the client asks again after a short-lived write of the session has passed.",
        (
            Edit(
                "holdfast_node.cache.sessions",
                "            heapq.heappush(self._wakes, (session.until, session_id))\n"
                "        elif until > session.until:\n"
                "            session.until = until\n"
                "        if answered_below",
                "            heapq.heappush(self._wakes, (session.until, session_id))\n"
                "        if answered_below",
            ),
        ),
    ),
    Bug(
        "callback-applies-twice",
        "An exception in a caller's callback leaves its entry unapplied in name, so that this replica"
        " applies it again.",
        "D16",
        # Two edits: writes.py would keep a caller's exception from ever reaching the group.
        "A caller's callback fails. (A read from within a callback is told an index too low, fault or not.)",
        (
            Edit(
                "holdfast_raft.group",
                "            engine.applied(index)\n"
                "            if proposal is not None:\n"
                "                answer(proposal.done, Applied(index, term, result))\n",
                "            if proposal is not None:\n"
                "                try:\n"
                "                    proposal.done(Applied(index, term, result))\n"
                "                except Exception:\n"
                '                    logger.exception("a caller\'s callback failed")\n'
                "                    self._node.mark(self)\n"
                "                    return\n"
                "            engine.applied(index)\n",
            ),
            Edit(
                "holdfast_node.writes",
                "            write.done(outcome, index)\n        except Exception:\n",
                "            write.done(outcome, index)\n        except RaftError:\n",
            ),
        ),
    ),
    Bug(
        "restore-order",
        "A restored state begins its CLOCK hand anew, so that it evicts other keys than one that lived.",
        "protocols.md 2",
        "A replica restarts from a snapshot, or gets one, after something was evicted.",
        (
            Edit(
                "holdfast_node.cache.image",
                "        space.hand = head.hand\n",
                "        space.hand = space.hand\n",
            ),
        ),
    ),
    Bug(
        "expiry-by-local-clock",
        "An expire entry takes what is due by the replica's own wall clock besides what is due by its stamp.",
        "protocols.md 3",
        "A node's wall clock jumps or drifts; or a key falls due between two replicas' applies.",
        (
            Edit(
                "holdfast_node.shard",
                "from holdfast_node.cache.commands import ABORT, SEAL, UNSEAL, UnknownEntryError,"
                " encode_verdict\n",
                "from holdfast_node.cache.commands import ABORT, EXPIRE, SEAL, UNSEAL, UnknownEntryError\n"
                "from holdfast_node.cache.commands import encode_verdict\n",
            ),
            Edit(
                "holdfast_node.shard",
                "            raise UnknownEntry(str(problem)) from problem\n",
                "            raise UnknownEntry(str(problem)) from problem\n"
                "        late = state._space.deadlines.due(self._clock.wall_ms(), 1000)\n"
                "        if late and data[0] == EXPIRE:\n"
                "            state._space.expire(late)\n",
            ),
        ),
    ),
    Bug(
        "eviction-by-local-recency",
        "A read raises the recency of its keys in this replica's records at once, instead of by an entry.",
        "protocols.md 2",
        "Reads at one replica while the budget is nearly full; then an eviction.",
        (
            Edit(
                "holdfast_node.upkeep",
                "from holdfast_node.cache.op import GET, Op\n",
                "from holdfast_node.cache.eviction import touch_samples\n"
                "from holdfast_node.cache.op import GET, Op\n",
            ),
            Edit(
                "holdfast_node.upkeep",
                "                samples[op.key] = None\n",
                "                touch_samples(self._state()._space, (op.key,))\n",
            ),
        ),
    ),
)
