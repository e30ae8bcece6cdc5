"""Finds tests that measure how long something took, or compare a clock: a busy machine makes them red."""

from __future__ import annotations

import ast
from collections.abc import Iterator

_READ = {f"{clock}{unit}" for clock in ("monotonic", "perf_counter", "process_time") for unit in ("", "_ns")}
_CLOCKS = {*_READ, "time", "time_ns"}


def measurements(tree: ast.Module) -> set[int]:
    """Lines where two readings of a clock are subtracted, or an assert looks at one.

    A reading is a call of a clock (of `time`, or a loop's) or a name that was bound to one; a deadline is
    none, so waiting until one is not found.
    """
    found: set[int] = set()
    for part in tree.body:
        nodes = list(ast.walk(part))
        if not any(map(_calls_clock, nodes)):
            continue
        bound = set(_bound(nodes))
        found |= {node.lineno for node in nodes if _is_measured(node, bound)}
    return found


def _is_measured(node: ast.AST, bound: set[str]) -> bool:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Sub):
        return _is_reading(node.left, bound) and _is_reading(node.right, bound)
    if isinstance(node, ast.Assert):
        return any(_is_reading(inner, bound) for inner in ast.walk(node.test))
    return False


def _is_reading(node: ast.AST, bound: set[str]) -> bool:
    if isinstance(node, ast.NamedExpr):
        return _is_reading(node.value, bound)
    if isinstance(node, ast.Name | ast.Attribute):
        return ast.unparse(node) in bound
    return _calls_clock(node)


def _calls_clock(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call) or node.args:
        return False
    if isinstance(node.func, ast.Name):
        return node.func.id in _CLOCKS
    if not isinstance(node.func, ast.Attribute):
        return False
    whose = _last_name(node.func.value)
    return (whose == "time" and node.func.attr in _CLOCKS) or (
        whose.endswith("loop") and node.func.attr == "time"
    )


def _last_name(node: ast.AST) -> str:
    if isinstance(node, ast.Call):
        return _last_name(node.func)
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def _bound(nodes: list[ast.AST]) -> Iterator[str]:
    """What is bound to a reading in a top-level function or class, as it is written."""
    for node in nodes:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                yield from _named(target, node.value)
        elif isinstance(node, ast.NamedExpr | ast.AnnAssign) and node.value is not None:
            yield from _named(node.target, node.value)


def _named(target: ast.expr, value: ast.expr) -> Iterator[str]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        for one, its in zip(target.elts, value.elts, strict=False):
            yield from _named(one, its)
    elif _calls_clock(value):
        yield ast.unparse(target)
