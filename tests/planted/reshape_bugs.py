"""Planted bugs of reshapes: who decides, what a target begins with, when a source may go."""

from __future__ import annotations

from tests.planted.planting import Bug, Edit

RESHAPE_BUGS = (
    Bug(
        "start-without-state",
        "A node that starts opens a target that has no snapshot of its own yet with an empty state.",
        "protocols.md 7",
        "A node restarts after a target was born there and before the target has a snapshot.",
        (
            Edit(
                "holdfast_node.hosting",
                "        self.waiting = {group: abouts[group] for group in known"
                " if not self._stands_on_disk(group)}\n",
                "        self.waiting = {}\n",
            ),
        ),
    ),
    Bug(
        "reads-ignore-seal",
        "A replica that has applied the Seal goes on to answer reads of its keys.",
        "protocols.md 4, 7",
        "A read waits at a replica of the source while the Seal is applied there; its target serves by then.",
        (
            Edit(
                "holdfast_node.reads",
                "        moved = self._moved()\n        if moved is not None and level is not Level.ANY:\n",
                "        moved = self._moved()\n        if moved is not None and level is Level.SESSION:\n",
            ),
            Edit(
                "holdfast_node.reads",
                "        if moved is not None and read.level is not Level.ANY:\n",
                "        if moved is not None and read.level is Level.SESSION:\n",
            ),
        ),
    ),
    Bug(
        "placement-judges-cancel",
        "A plan is forgotten as soon as somebody wishes it, without an Abort in the log of its last source.",
        "protocols.md 7",
        "A plan is taken back while its Seal is on its way; or at all, for whoever looks at the logs.",
        (
            Edit(
                "holdfast_node.placement.reshape",
                "    if not _is_aborted(plan, plan.decider, facts):\n"
                "        return _ask(plan.decider, facts, AskAbort)\n",
                "    # No Abort is asked for.\n",
            ),
            Edit(
                "holdfast_node.placement.reshape",
                "        if not _is_aborted(plan, source, facts):\n"
                "            return _ask(source, facts, AskUnseal)\n",
                "        if _is_sealed(plan, source, facts):\n"
                "            return _ask(source, facts, AskUnseal)\n",
            ),
        ),
    ),
    Bug(
        "placement-judges-seal",
        "The map flips once the Seal has been asked for, whether or not it is applied.",
        "protocols.md 7",
        "None, for whoever looks at the logs; a source without a leader, for clients.",
        (
            Edit(
                "holdfast_node.placement.reshape",
                "        decides = source is plan.decider\n        return Next(\n",
                "        decides = source is plan.decider\n"
                "        if decides and any(known.applied for known in _said_of(source, facts)):\n"
                '            return Next((Advance(Phase.RETIRE),), "sealed")\n'
                "        return Next(\n",
            ),
        ),
    ),
    Bug(
        "half-a-state",
        "The target of a merge starts from the deciding source alone, where the other one's Seal is not"
        " applied yet.",
        "protocols.md 7",
        "A replica lags in one source of a merge and not in the other.",
        (
            Edit(
                "holdfast_node.hosting",
                "        if deciding is None or len(sources) < 1 + len(deciding.others):\n",
                "        if deciding is None:\n",
            ),
        ),
    ),
    Bug(
        "copy-born-behind",
        "A copy whose snapshot was taken after the Seal is born where the snapshot stands, not where the Seal"
        " does.",
        "protocols.md 7",
        "A copy begins, or begins anew, after the source was sealed and went on.",
        (
            Edit(
                "holdfast_node.following",
                "        return (index, term) if sealed is None else (sealed.index, sealed.term)\n",
                "        return (index, term) if sealed is None else (index, term)\n",
            ),
        ),
    ),
    Bug(
        "copy-half-told",
        "A copied snapshot counts as standing where its source's commit index is, so that the copy never gets"
        " what lies between, and is ready and born without it.",
        "protocols.md 7",
        "Writes go on while a snapshot is copied.",
        (
            Edit(
                "holdfast_raft.copy_serving",
                "            pull.copy,\n            info.index,\n            info.term,\n",
                "            pull.copy,\n            group.commit_index,\n"
                "            journal.term_at(group.commit_index) or 0,\n",
            ),
            Edit(
                "holdfast_raft.copy_serving",
                "        number = pull.number if",
                "        journal = group.journal\n        number = pull.number if",
            ),
        ),
    ),
    Bug(
        "copy-follows-uncommitted",
        "A copy is given entries of its source that are not committed yet.",
        "protocols.md 7",
        "The leader of the source that a copy follows is cut off, and its last entries are overwritten.",
        (
            Edit(
                "holdfast_raft.copy_serving",
                "        available = group.commit_index - pull.index\n",
                "        available = group.journal.last_index - pull.index\n",
            ),
        ),
    ),
    Bug(
        "plan-floor-missing",
        "A Seal of a plan that was aborted before is applied. The leader that is asked for it does not look"
        " either.",
        "protocols.md 7",
        "A placement leader's order of the Seal comes late; by then the next one has taken the plan back.",
        (
            Edit(
                "holdfast_node.cache.seal",
                "        if seal.plan <= self.floor:\n",
                "        if seal.plan <= 0:\n",
            ),
            Edit(
                "holdfast_node.agent",
                "        if replica.state.floor >= order.plan:\n",
                "        if replica.state.floor < 0:\n",
            ),
        ),
    ),
    Bug(
        "retries-not-carried",
        "A target begins with its source's keys and an empty table of repeats.",
        "protocols.md 1, 7",
        "The answer to a write is lost, its shard is split or moved, and the client asks again.",
        (
            Edit(
                "holdfast_node.cache.state",
                "        part._sessions = self._sessions.handed()\n",
                "        # No table of repeats is handed over.\n",
            ),
        ),
    ),
    Bug(
        "sources-dropped-early",
        "A plan is done, and its sources go, when every target has been born, with or without a snapshot of"
        " its own.",
        "protocols.md 7",
        "None, for whoever looks at the disks; else a loss of power after the sources went.",
        (
            Edit(
                "holdfast_node.placement.reshape",
                "            if known is not None and known.stands:\n",
                "            if known is not None:  # born is enough\n",
            ),
        ),
    ),
    Bug(
        "placement-outlives-its-seal",
        "A sealed placement group goes on to take commands, and its leader to conduct.",
        "docs/decisions/0006-reshape.md",
        "The placement group moves while other plans are under way.",
        (
            Edit(
                "holdfast_node.placement.state",
                "        return self._moved() or _RULES[type(command)](self, command)\n",
                "        return _RULES[type(command)](self, command)\n",
            ),
            Edit(
                "holdfast_node.placement.replica",
                "self.group.is_leader and self.state.epoch > 0 and self.state.sealed is None\n",
                "self.group.is_leader and self.state.epoch > 0\n",
            ),
        ),
    ),
    Bug(
        "placement-goes-on-where-it-was",
        "What a placement group begins with that goes on from a sealed one says that it is where that was.",
        "docs/decisions/0006-reshape.md",
        "The placement group moves.",
        (
            Edit(
                "holdfast_node.placement.ending",
                "    flip(content, plan, when_ms=0)\n",
                "    content.step_epoch()  # and stays where it was\n",
            ),
        ),
    ),
    Bug(
        "placement-copies-forgotten",
        "Between the Seal of the placement group and the first leader of the next nobody asks for copies.",
        "docs/decisions/0006-reshape.md",
        "The placement group moves, and a new node of it starts again before it is born there.",
        (
            Edit(
                "holdfast_node.placement.succession",
                "            if node not in holders:\n",
                "            if node < 0:\n",
            ),
        ),
    ),
)
