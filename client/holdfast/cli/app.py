"""The root command: brings the verbs together. Each module registers its own.

Teachers: kubectl and etcdctl for the shape of verbs, nouns and examples.
"""

from __future__ import annotations

import textwrap
from importlib.metadata import PackageNotFoundError, version

import click

from holdfast.cli import (
    bench,
    cluster,
    completion,
    dev,
    keys,
    load,
    namespace,
    node,
    op,
    plan,
    sample_settings,
    serve,
    shard,
    txn,
    wal,
    watch,
)
from holdfast.cli.verbs import Noun, talks

EXAMPLES = """
# Start three nodes on this machine, state in ./.holdfast
$ holdfast dev

# Write a key, read it back
$ holdfast put device/17/brightness 80
$ holdfast get device/17/brightness

# See who leads what
$ holdfast shard list
"""


def _version() -> str:
    try:
        return version("holdfast")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "unknown"


@click.group("holdfast", cls=Noun)
@click.version_option(_version(), prog_name="holdfast")
@talks
def root() -> None:
    """Talks to a Holdfast cluster, or runs one.

    Data goes to stdout, everything else to stderr. Keys and values are text; base64:... stands for bytes
    that are no text.
    """


root.examples = textwrap.dedent(EXAMPLES).strip()

for part in (
    keys, txn, watch, load, sample_settings, bench, cluster, shard, node, namespace, op, plan, wal, dev,
    serve, completion,
):  # fmt: skip
    part.register(root)
