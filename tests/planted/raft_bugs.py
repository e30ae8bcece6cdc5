"""Planted bugs of consensus: appends, commits, votes, replicas, snapshots on their way."""

from __future__ import annotations

from tests.planted.planting import Bug, Edit

RAFT_BUGS = (
    Bug(
        "d1",
        "A follower cuts what stands behind an append whose entries are all present, and confirms up to its"
        " end; the leader sends again what is in flight (D2, harmless by itself), one entry an append.",
        "D1",
        # The leader's `next` never falls behind what is in flight, and streams keep their order, so that no
        # append repeats an older one: the first rule alone would stay unseen.
        "A follower is lost, or looked at, when an append comes again after one behind it was confirmed.",
        (
            Edit(
                "holdfast_raft.guard",
                "    if new_from == len(entries):\n",
                "    if new_from == len(entries) and prev_index + new_from < commit_index:\n",
            ),
            Edit(
                "holdfast_raft.guard",
                "        return match_index, max(next_index, match_index + 1)\n",
                "        return match_index, match_index + 1\n",
            ),
            Edit("holdfast_raft.replication", "APPEND_ENTRIES_MAX = 256\n", "APPEND_ENTRIES_MAX = 1\n"),
        ),
    ),
    Bug(
        "d2",
        "A success counts for all that is in flight: match follows next, not the reply. (A match or next that"
        " goes back is no more than inefficient here: the leader counts less than there is.)",
        "D2",
        "The leader ends or is cut off while appends it has counted are still on their way.",
        (
            Edit(
                "holdfast_raft.guard",
                "        match_index = max(match_index, reply.index)\n",
                "        match_index = max(match_index, reply.index, next_index - 1)\n",
            ),
        ),
    ),
    Bug(
        "d3",
        "A follower commits up to the leader's commit index over a tail that this leader has not verified,"
        " by heartbeats and by appends that it rejects.",
        "D3",
        # Two edits: the first alone needs a heartbeat in the few ms before the tail is replaced.
        "A leader that was cut off with entries of its own comes back and hears the new one.",
        (
            Edit(
                "holdfast_raft.engine",
                "        self.hear_leader(leader, term)\n        verdict = judge_append(",
                "        self.hear_leader(leader, term)\n"
                "        self.hear_commit(append.commit_index)\n"
                "        verdict = judge_append(",
            ),
            Edit(
                "holdfast_raft.engine",
                "follower_commit(self.commit_index, leader_commit, self.verified_index)",
                "follower_commit(self.commit_index, leader_commit, self.journal.last_index)",
            ),
        ),
    ),
    Bug(
        "d5",
        "Replies said in an earlier term, votes and confirmed entries alike, count in the present one.",
        "D5",
        # Rare: an old confirmation harms only where the entries it names were cut since, which takes three
        # terms, the first and third led by one node, over one stalled connection, and a minority of two.
        "A vote or confirmation that a stalled link held up comes when its receiver stands or leads again,"
        " and what it was said of has been overruled since.",
        (
            Edit(
                "holdfast_raft.group",
                "                self._send(sender, TermNotice(), self.journal.hard_state_lsn)\n",
                "                self._send(sender, TermNotice(), self.journal.hard_state_lsn)\n"
                "            else:\n"
                "                self._take_reply(sender, self.term, body)\n",
            ),
        ),
    ),
    Bug(
        "d6",
        "A snapshot counts as obsolete only below the replica's own latest one, not below what is committed:"
        " an older one rolls state, applied and commit back; a leader sends its snapshot to whoever is behind"
        " it, also where it still has the entries (harmless by itself).",
        "D6",
        # Without the second a snapshot goes to those only who have none of what is behind it, unless a new
        # leader with a longer log takes over in the very sync of the file.
        "A follower's confirmations are lost with a connection, or wait for its disk, over a snapshot.",
        (
            Edit(
                "holdfast_raft.replication",
                "            if progress.next <= journal.base_index:\n                self._start_snapshot",
                "            if progress.next <= self._standing.index:\n                self._start_snapshot",
            ),
            Edit(
                "holdfast_raft.replication",
                "snapshot_is_obsolete(group.journal, group.commit_index, chunk.index, chunk.snapshot_term)",
                "chunk.index < self._standing.index",
            ),
            Edit(
                "holdfast_raft.replication",
                "snapshot_is_obsolete(group.journal, group.commit_index, last.index, last.snapshot_term)",
                "last.index < self._standing.index",
            ),
            # The engine's own assertion would only stop the replica.
            Edit(
                "holdfast_raft.engine",
                "assert index > self.commit_index, ",
                "assert index >= self.journal.base_index, ",
            ),
        ),
    ),
    Bug(
        "d13",
        "Installing a snapshot sets applied and leaves commit behind it, until the leader says the next"
        " commit index; no promise is broken by that here, only the order applied <= commit shows it.",
        "D13",
        "A follower that was away gets a snapshot.",
        (
            Edit(
                "holdfast_raft.engine",
                '        self._set("raftLastApplied", index)\n'
                '        self._set("raftCommitIndex", index)\n'
                "        self.journal.forget_below(index)\n",
                '        self._set("raftLastApplied", index)\n        self.journal.forget_below(index)\n',
            ),
        ),
    ),
    Bug(
        "d14",
        "A reject always answers with the end of the follower's log, which moves the leader nowhere once"
        " that end is not before the append: a follower with a divergent tail never converges.",
        "D14",
        "A leader that was cut off with entries of its own comes back, and no snapshot rescues it.",
        (
            Edit(
                "holdfast_raft.guard",
                "        index -= 1\n    return Mismatch(index)\n",
                "        index -= 1\n    return Mismatch(log.last_index)\n",
            ),
        ),
    ),
    Bug(
        "ack-before-sync",
        "A follower's confirmation of entries leaves before their records are durable.",
        "protocols.md 5, D11",
        "A follower loses power in the sync that was to make them so.",
        (
            Edit(
                "holdfast_raft.group",
                "        self._send(sender, reply, self.journal.appended_lsn if reply.matched else 0)\n",
                "        self._send(sender, reply)\n",
            ),
        ),
    ),
    Bug(
        "leader-counts-unsynced",
        "The leader counts itself by its last index instead of its durable one.",
        "protocols.md 5, D11",
        "The leader's disk is slower than a follower's, and it loses power.",
        (
            Edit(
                "holdfast_raft.group",
                "self.leadership.committed_index(self.journal.durable_index)",
                "self.leadership.committed_index(self.journal.last_index)",
            ),
        ),
    ),
    Bug(
        "durable-by-index",
        "What is durable is judged by index: a truncation leaves the durable index where it stood, and the"
        " confirmation of an entry at or below it does not wait for the new record.",
        "protocols.md 5",
        # Two edits: the leader's own count is safe by itself, as a campaign waits for its own sync.
        "A follower's divergent tail is replaced, and it loses power before the sync of what replaced it.",
        (
            Edit(
                "holdfast_raft.journal",
                "        del self._entries[entryFrom:]\n"
                "        while self._unsynced and self._unsynced[-1][1] >= index:\n"
                "            self._unsynced.pop()\n"
                "        self._durable_index = min(self._durable_index, index - 1)\n"
                "\n",
                "        del self._entries[entryFrom:]\n\n",
            ),
            Edit(
                "holdfast_raft.group",
                "        self._send(sender, reply, self.journal.appended_lsn if reply.matched else 0)\n",
                "        waits = reply.matched and reply.index > self.journal.durable_index\n"
                "        self._send(sender, reply, self.journal.appended_lsn if waits else 0)\n",
            ),
        ),
    ),
    Bug(
        "vote-before-sync",
        "A vote leaves before the term and vote it stands on are durable.",
        "protocols.md 5, D11",
        "A voter loses power in that sync, and votes again in the same term when it is back.",
        (
            Edit(
                "holdfast_raft.candidacy",
                "self._send(sender, VoteReply(granted=True), self._engine.journal.hard_state_lsn)",
                "self._send(sender, VoteReply(granted=True), 0)",
            ),
        ),
    ),
    Bug(
        "vote-not-persisted",
        "Term and vote are kept in memory and never reach the WAL.",
        "protocols.md 5, D27",
        "A voter is killed and votes again in a term in which it has voted.",
        (
            Edit(
                "holdfast_raft.journal",
                "        self._vote = votedForNodeId\n"
                "        self.hard_state_lsn = self._wal.hard_state(self._group, term, votedForNodeId)\n"
                "\n",
                "        self._vote = votedForNodeId\n\n",
            ),
        ),
    ),
    Bug(
        "empty-replica-votes",
        "A node without a replica of a group grants pre-votes and votes for it.",
        "protocols.md 6",
        "A node loses its disk and starts again; its vote makes a leader that lacks what was acknowledged.",
        (
            Edit(
                "holdfast_raft.driver",
                "    NodeMessage,\n    Told,\n)\n",
                "    NodeMessage,\n    PreVote,\n    PreVoteReply,\n    Told,\n    Vote,\n"
                "    VoteReply,\n)\n",
            ),
            Edit(
                "holdfast_raft.driver",
                "            group.receive(peer, message)\n",
                "            group.receive(peer, message)\n"
                "        elif isinstance(message.body, PreVote):\n"
                "            granted = PreVoteReply(message.body.next_term, granted=True)\n"
                "            self._post(peer, Addressed(message.group, message.term, granted), 0)\n"
                "        elif isinstance(message.body, Vote):\n"
                "            vote = VoteReply(granted=True)\n"
                "            self._post(peer, Addressed(message.group, message.term, vote), 0)\n",
            ),
        ),
    ),
)
