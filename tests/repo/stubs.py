"""Makes the stubs of proto/ (--write), or says which committed ones differ from what would be made.

Directory = proto package = Python import, so a stub of proto/holdfast_raft/v1 belongs into
raft/holdfast_raft/v1.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOMES = {"holdfast": "client", "holdfast_raft": "raft", "holdfast_node": "cachenode"}


def generate(target: Path) -> None:
    """Runs protoc over every proto into `target`."""
    sources = sorted(str(p.relative_to(ROOT / "proto")) for p in (ROOT / "proto").rglob("*.proto"))
    subprocess.run(
        [
            sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}",
            f"--python_out={target}", f"--grpc_python_out={target}",
            f"--mypy_out=quiet:{target}", f"--mypy_grpc_out=quiet:{target}", *sources,
        ],
        check=True,
        env={"PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"},
    )  # fmt: skip


def is_wanted(path: Path) -> bool:
    """Whether a generated file is worth keeping: messages always, services only where there are some."""
    if "_pb2_grpc" not in path.name:
        return True
    base = path.with_name(path.name.split("_pb2_grpc")[0] + "_pb2_grpc.py")
    return "def __init__(self, channel)" in base.read_text()


def main() -> int:
    """Entry point; exit status 1 when a committed stub differs."""
    write = "--write" in sys.argv
    differing = []
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder)
        generate(made)
        wanted = set()
        for source in sorted(p for p in made.rglob("*_pb2*") if p.is_file() and is_wanted(p)):
            relative = source.relative_to(made)
            target = ROOT / HOMES[relative.parts[0]] / relative
            wanted.add(target)
            if not target.exists() or target.read_bytes() != source.read_bytes():
                differing.append(target)
                if write:
                    target.parent.mkdir(parents=True, exist_ok=True)
                    target.write_bytes(source.read_bytes())
        for home in (ROOT / top / package for package, top in HOMES.items()):
            for stale in sorted(set(home.rglob("*_pb2*.py*")) - wanted):
                if "__pycache__" in stale.parts:
                    continue
                differing.append(stale)
                if write:
                    stale.unlink()
    for path in differing:
        print(f"{'wrote' if write else 'differs'}: {path.relative_to(ROOT)}")
    if differing and not write:
        print("run: make proto")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
