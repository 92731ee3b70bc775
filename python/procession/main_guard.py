# SPDX-License-Identifier: Apache-2.0
"""Finds what a main's source keeps behind ``if __name__ == "__main__":``."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import NamedTuple

Lines = tuple[int, int]
_COMPOUND = ("body", "orelse", "finalbody", "handlers", "cases")


class Guards(NamedTuple):
    """The guarded regions, the names that are bound in them, and those bound elsewhere."""

    regions: tuple[Lines, ...] = ()
    names: frozenset[str] = frozenset()
    other_names: frozenset[str] = frozenset()


def read_guards(source: str | bytes) -> Guards:
    """What a source guards; nothing, if it doesn't parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return Guards()
    guarded: list[ast.stmt] = []
    unguarded: list[ast.AST] = []
    regions = tuple(_walk(tree.body, guarded, unguarded))
    return Guards(regions, frozenset(_bound(guarded)), frozenset(_bound(unguarded)))


def _walk(
    body: list[ast.stmt], guarded: list[ast.stmt], unguarded: list[ast.AST]
) -> Iterator[Lines]:
    for statement in body:
        if isinstance(statement, ast.If):
            holds = _truth_of_being_main(statement.test)
            for part, needed in ((statement.body, True), (statement.orelse, False)):
                if part and holds is needed:
                    guarded += part
                    yield _first_line(part[0]), part[-1].end_lineno or part[-1].lineno
                else:
                    yield from _walk(part, guarded, unguarded)
        elif isinstance(statement, ast.Expr) and _truth_of_being_main(statement.value):
            # __name__ == "__main__" and main()
            yield statement.lineno, statement.end_lineno or statement.lineno
        elif isinstance(statement, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            unguarded.append(statement)
        else:
            yield from _walk_parts(statement, guarded, unguarded)


def _walk_parts(
    node: ast.AST, guarded: list[ast.stmt], unguarded: list[ast.AST]
) -> Iterator[Lines]:
    """The same for the statements inside a `try`, `with`, `for`, `while` or `match`."""
    inner = [part for field in _COMPOUND for part in getattr(node, field, ())]
    if not inner:
        unguarded.append(node)
        return
    unguarded += (part for part in ast.iter_child_nodes(node) if part not in inner)
    for part in inner:
        if isinstance(part, ast.stmt):
            yield from _walk([part], guarded, unguarded)
        else:
            yield from _walk_parts(part, guarded, unguarded)


def _truth_of_being_main(test: ast.expr) -> bool | None:
    """True if `test` can hold in main alone, False if it can fail in main alone, else None."""
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        return True if any(_truth_of_being_main(value) for value in test.values) else None
    if isinstance(test, ast.BoolOp):
        return False if any(_truth_of_being_main(value) is False for value in test.values) else None
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _truth_of_being_main(test.operand)
        return None if inner is None else not inner
    if not isinstance(test, ast.Compare) or len(test.ops) != 1:
        return None
    sides = [test.left, test.comparators[0]]
    if not (any(map(_is_name, sides)) and any(map(_is_main, sides))):
        return None
    return {ast.Eq: True, ast.NotEq: False}.get(type(test.ops[0]))


def _is_name(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "__name__"


def _is_main(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == "__main__"


def _first_line(statement: ast.stmt) -> int:
    decorators: list[ast.expr] = getattr(statement, "decorator_list", [])
    return min([statement.lineno, *(decorator.lineno for decorator in decorators)])


def _bound(statements: Sequence[ast.AST]) -> Iterator[str]:
    """The names that these statements bind, not looking into functions and class bodies."""
    pending = list(statements)
    while pending:
        node = pending.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from ((alias.asname or alias.name).partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif not isinstance(node, ast.Lambda):
            pending += ast.iter_child_nodes(node)
