"""Planted bugs of reads: barrier rounds, tokens, ages."""

from __future__ import annotations

from tests.planted.planting import Bug, Edit

READ_BUGS = (
    Bug(
        "read-without-barrier",
        "A leader answers linearizable reads from its own commit index, without a round.",
        "protocols.md 4, D18",
        "A leader that is cut off, or paused, serves reads while another one commits.",
        (
            Edit(
                "holdfast_raft.group",
                "                self._node.barriers.join(\n"
                "                    self, deadline, lambda point: self._barrier_met(point, deadline, done)\n"
                "                )\n",
                "                self._barrier_met(self.commit_index, deadline, done)\n",
            ),
        ),
    ),
    Bug(
        "nonce-reused",
        "All rounds of a process have one nonce, so that an answer to an earlier one counts for a later one.",
        "protocols.md 4",
        "A peer's answer is held up, the peer follows another leader, the answer meets a waiting round.",
        (
            Edit(
                "holdfast_raft.readindex",
                "        self._counter += 1\n        self.rounds += 1\n",
                "        self._counter = 1\n        self.rounds += 1\n",
            ),
        ),
    ),
    Bug(
        "read-joins-running-round",
        "A read that comes while a round is under way joins it, with the commit index of the round's start.",
        "protocols.md 4",
        "A follower asks its leader for an index just after a write that the running round does not cover.",
        (
            Edit(
                "holdfast_raft.readindex",
                "        found = self._next.get(leadership.id)\n        if found is None:\n",
                "        running = self._asked.get(leadership.id)\n"
                "        if running is not None:\n"
                "            running.reads.append(_Waiting(deadline, done))\n"
                "            return\n"
                "        found = self._next.get(leadership.id)\n"
                "        if found is None:\n",
            ),
        ),
    ),
    Bug(
        "bounded-age-from-arrival",
        "A follower counts its state's age from a heartbeat's arrival, not from its own echoed send time.",
        "protocols.md 4",
        "A heartbeat lies in a queue, or in the socket of a paused node, while writes are acknowledged.",
        (
            Edit(
                "holdfast_raft.group",
                "Contact(echoed_at, beat.quorum_age_ms / 1000, beat.commit_index)",
                "Contact(self._node.clock.monotonic(), beat.quorum_age_ms / 1000, beat.commit_index)",
            ),
        ),
    ),
    Bug(
        "session-token-ignored",
        "A follower serves session reads without looking at their token.",
        "protocols.md 4",
        "A session that has seen a write reads from a follower that has not applied it.",
        (
            Edit(
                "holdfast_node.reads",
                "        elif level is Level.SESSION and token is not None:\n",
                "        elif level is Level.SESSION and token is not None and group.is_leader:\n",
            ),
        ),
    ),
    Bug(
        "age-by-leaders-clock",
        "A follower takes the leader's send time of a heartbeat for its own clock's.",
        "protocols.md 4",
        "None: two machines' monotonic clocks began at different moments.",
        (
            Edit(
                "holdfast_raft.heartbeats",
                "        echoed_at = message.echo_ns / 1e9 if mine else None\n",
                "        echoed_at = message.sent_at_ns / 1e9 if mine else None\n",
            ),
        ),
    ),
    Bug(
        "own-write-unseen",
        "A read is served before the writes that precede it in its frame.",
        "protocols.md 1",
        "None: a frame that writes a key and then reads it.",
        (
            Edit(
                "holdfast_node.reads",
                "        if after is None or after.settled:\n",
                "        if after is not None or read.after is None:\n",
            ),
        ),
    ),
)
