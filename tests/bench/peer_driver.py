"""Builds peerload (the compiled client of the peers) and knows its flags.

Without the network: Debian's golang-etcd-server-dev puts etcd's client where GOPATH mode finds it. The
program is built once and again when a source is newer; build cache and program lie in `.cache/`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from tests.bench.driving import ROOT

SOURCES = Path(__file__).with_name("peerload")
PROGRAM = ROOT / ".cache" / "peerload"
GOCODE = Path("/usr/share/gocode")
PACKAGES = "apt-get install etcd-server redis-server redis-tools golang-go golang-etcd-server-dev"


class PeerAbsentError(RuntimeError):
    """What a peer needs is not installed; the rows against it are not shown."""


def built() -> Path:
    """The program, up to date. Raises PeerAbsentError."""
    newest = max(source.stat().st_mtime for source in SOURCES.glob("*.go"))
    if PROGRAM.exists() and PROGRAM.stat().st_mtime >= newest:
        return PROGRAM
    if not (GOCODE / "src/go.etcd.io/etcd/clientv3").is_dir():
        raise PeerAbsentError(f"etcd's Go client is not installed: {PACKAGES}")
    cache = ROOT / ".cache" / "go"
    cache.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "GO111MODULE": "off",
        "GOPATH": f"{cache}:{GOCODE}",
        "GOCACHE": str(cache / "build"),
        "GOFLAGS": "",
    }
    try:
        subprocess.run(["go", "build", "-o", str(PROGRAM), "."], cwd=SOURCES, env=environment, check=True)
    except FileNotFoundError:
        raise PeerAbsentError(f"Go is not installed: {PACKAGES}") from None
    except subprocess.CalledProcessError as problem:
        raise PeerAbsentError(f"peerload does not build: {problem}") from None
    return PROGRAM


def commands(
    load: str,
    endpoints: str,
    *,
    callers: int,
    conns: int,
    seconds: float,
    warmup: float,
    keys: int,
    value_bytes: int,
    fill: bool,
    batch: int = 1,
) -> Callable[[int, str], list[str]]:
    """What starts peerload, for `driving.drive`."""
    program = str(built())

    def command(_number: int, samples: str) -> list[str]:
        flags = {
            "load": load,
            "endpoints": endpoints,
            "callers": callers,
            "conns": conns,
            "seconds": seconds,
            "warmup": warmup,
            "keys": keys,
            "value": value_bytes,
            "batch": batch,
            "fill": str(fill).lower(),
            "samples": samples,
        }
        return [program, *(f"-{name}={value}" for name, value in flags.items())]

    return command
