"""What was measured on what: machine, versions, commit. Names no host and no path."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from tests.bench.driving import ROOT

OURS = ("grpcio", "protobuf", "uvloop", "pysyncobj")


def asked(*command: str) -> str:
    """What a program says of itself; empty where it is absent."""
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT).stdout.strip()


def first_version(text: str) -> str:
    """The first thing like 3.4.23 in it; empty if there is none."""
    found = re.search(r"\d+\.\d+(\.\d+)?", text)
    return found.group() if found else ""


def versions() -> dict[str, str]:
    """Of what took part; empty: absent."""
    return {
        # Two builds of one version differ in speed by a fifth.
        "python": f"{platform.python_version()} (built {platform.python_build()[1]})",
        **{name: metadata.version(name) for name in OURS},
        "etcd": first_version(asked("etcd", "--version")),
        "redis": first_version(asked("redis-server", "--version")),
        "go": first_version(asked("go", "version")),
    }


def processor() -> str:
    """As the kernel names it."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def filesystem(folder: Path) -> str:
    """The kind of file system a folder is on; fsync means nothing on tmpfs."""
    where, kind = "", ""
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, fs, *_ = line.split()
        inside = mount == "/" or str(folder.resolve()).startswith(f"{mount}/") or str(folder) == mount
        if inside and len(mount) >= len(where):
            where, kind = mount, fs
    return kind


def machine(folder: Path) -> dict[str, object]:
    """Of the machine as far as it bears on the figures."""
    memory = re.search(r"MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text())
    return {
        "processor": processor(),
        "cores": os.cpu_count(),
        "memory_gb": round(int(memory.group(1)) / 1e6) if memory else None,
        "kernel": platform.release(),
        "filesystem": filesystem(folder),
        "load_before": round(os.getloadavg()[0], 2),
    }


def commit() -> str:
    """What is checked out; marked when the tree differs from it (but for evidence itself)."""
    said = asked("git", "rev-parse", "--short=12", "HEAD")
    changed = asked("git", "status", "--porcelain", "--", ".", ":!docs/evidence")
    return f"{said}{' with changes' if changed else ''}"
