"""Bugs that the simulator found in the product: each fix taken out again."""

from __future__ import annotations

from tests.planted.planting import Bug, Edit

FOUND_BUGS = (
    Bug(
        "snapshot-name-unsynced",
        "A node that starts trusts a snapshot's name that stands in the page cache only.",
        "protocols.md 5",
        "A process ends between a snapshot's rename and the sync of its folder, starts again, and the machine"
        " fails once the Base record that rests on the name is durable.",
        (
            Edit(
                "holdfast_raft.snapshots",
                "        self.disk.sync_dir(_folder(group))  # a name may stand in the page cache only",
                "        # a name may stand in the page cache only",
            ),
        ),
    ),
    Bug(
        "clocks-against-own",
        "What is known of the peers' wall clocks is kept as the difference to the own one, so that they all"
        " seem to jump with it.",
        "protocols.md 3",
        "The wall clock of a leader jumps before it steers the group's clock.",
        (
            Edit(
                "holdfast_raft.heartbeats",
                "_Wall(wall_ms - now * 1000, now, waited)\n",
                "_Wall(wall_ms - self._clock.wall_ms(), now, waited)\n",
            ),
            Edit(
                "holdfast_raft.heartbeats",
                "        now_ms = self._clock.monotonic() * 1000\n",
                "        now_ms = self._clock.wall_ms()\n",
            ),
        ),
    ),
    Bug(
        "samples-spin",
        "Samples of reads that are due but cannot be proposed ask for a turn at once, and again then.",
        "architecture.md: the loop",
        "A leader near its budget whose touch entry is under way cannot commit it, or hands over.",
        (
            Edit(
                "holdfast_node.upkeep",
                "        touch_at = self._touch_at if self._samples and self._touch_at > now else _NEVER\n",
                "        touch_at = self._touch_at if self._samples else _NEVER\n",
            ),
        ),
    ),
    Bug(
        "sealed-for-nobody",
        "A group is sealed for nodes that it has not come to, in a majority of the target's, and who has the"
        " state before it asks for copies only until it was led.",
        "protocols.md 7",
        # Two edits: by the second rule alone those nodes get it all the same.
        "The placement group moves to a node that its last move has still to reach: it is sealed, the next"
        " one cannot be born, and nobody is left who asks for copies.",
        (
            Edit(
                "holdfast_node.node_core",
                "self.hosting.replicas.get(replica.entry.group) is not replica,\n",
                "self.hosting.replicas.get(replica.entry.group) is not replica"
                " or self.epoch > replica.state.epoch,\n",
            ),
            Edit(
                "holdfast_node.placement.reshape",
                "    if 2 * (len(target.replicas) - len(without)) > len(target.replicas):\n",
                "    if True:\n",
            ),
        ),
    ),
)
