"""The mutants of one module: each is the module's syntax tree with one small change.

A change is one that a decision could be wrong by: a comparison, a boundary, a connective, a constant, an operator, a
condition, a returned value, a call or a ``raise`` that is left out. Not changed are annotations, docstrings,
``__all__``, what a message says, and what stands under ``if TYPE_CHECKING``.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from types import CodeType
from typing import Any

__all__ = ["Mutant", "mutants_of"]

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,), ast.NotIn: (ast.In,),
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
}  # fmt: skip
_OPERATED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
    ast.Pow: ast.Mult,
}  # fmt: skip
#: Calls whose arguments are words for people.
_SPEAKING = (
    "logger.",
    "log.",
    "warnings.",
    "ConfigError",
    "TypeError",
    "ValueError",
    "KeyError",
    "PoolError",
    "Kind",
)

#: Arguments that are such words, whatever is called.
_SPEAKING_ARGUMENTS = ("none", "minus_one", "argument", "name")

Change = Callable[[Any], None]
Path = tuple[tuple[str, int | None], ...]


@dataclass(frozen=True)
class Mutant:
    """One change of one module."""

    #: Names it in reports and in docs/mutants.md: ``function: before -> after``, with ``#2`` where that comes again.
    name: str
    line: int
    _compile: Callable[[], CodeType]

    @property
    def code(self) -> CodeType:
        """The changed module."""
        return self._compile()


def mutants_of(source: str, file: str) -> list[Mutant]:
    """All mutants of a module, in the order of their lines."""
    tree = ast.parse(source)
    places = list(_places(tree, ()))
    found: list[Mutant] = []
    seen: dict[str, int] = {}
    for path, where, change in places:
        before = _at(tree, path)
        after = copy.deepcopy(before)
        after = change(after) or after
        name = f"{where}: {_shown(before)} -> {_shown(after)}"
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            name += f" #{seen[name]}"
        found.append(Mutant(name, getattr(before, "lineno", 0), partial(_changed, tree, path, after, file)))
    return found


def _changed(tree: ast.Module, path: Path, after: ast.AST, file: str) -> CodeType:
    mutated = copy.deepcopy(tree)
    _put(mutated, path, after)
    return compile(ast.fix_missing_locations(mutated), file, "exec")


def _at(tree: ast.AST, path: Path) -> Any:
    node: Any = tree
    for field, index in path:
        node = getattr(node, field)
        if index is not None:
            node = node[index]
    return node


def _put(tree: ast.AST, path: Path, new: ast.AST) -> None:
    parent = _at(tree, path[:-1])
    field, index = path[-1]
    if index is None:
        setattr(parent, field, new)
    else:
        getattr(parent, field)[index] = new


def _shown(node: ast.AST) -> str:
    text = " ".join(ast.unparse(node).split())
    if isinstance(node, (ast.If, ast.While)):
        text = ("if " if isinstance(node, ast.If) else "while ") + ast.unparse(node.test)
    return text if len(text) <= 90 else text[:87] + "..."


def _places(tree: ast.Module, _: tuple[()]) -> Iterator[tuple[Path, str, Callable[[Any], ast.AST | None]]]:
    """(where in the tree, in which function, how to change the node there)."""
    yield from _walk(tree, (), "module", silent=False)


def _walk(
    node: ast.AST, path: Path, where: str, *, silent: bool
) -> Iterator[tuple[Path, str, Callable[[Any], ast.AST | None]]]:
    for change in _changes(node, silent=silent):
        yield path, where, change
    for field, child, index in _children(node):
        inside = where
        if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            inside = child.name if where == "module" else f"{where}.{child.name}"
        quiet = silent or _speaks(node, field)
        yield from _walk(child, (*path, (field, index)), inside, silent=quiet)


def _children(node: ast.AST) -> Iterator[tuple[str, ast.AST, int | None]]:
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "returns", "type_params", "op", "ops", "ctx"):
            continue
        if isinstance(value, list):
            for index, item in enumerate(value):
                if isinstance(item, ast.AST) and not _is_left_alone(node, field, item, index):
                    yield field, item, index
        elif isinstance(value, ast.AST) and not _is_left_alone(node, field, value, None):
            yield field, value, None


def _is_left_alone(parent: ast.AST, field: str, child: ast.AST, index: int | None) -> bool:
    if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
        return True
    if isinstance(child, ast.Assign) and ast.unparse(child.targets[0]) in ("__all__", "__slots__"):
        return True
    if isinstance(child, ast.ClassDef) and any("TypedDict" in ast.unparse(base) for base in child.bases):
        return True
    if isinstance(child, (ast.Import, ast.ImportFrom, ast.Assert)):
        return True
    if isinstance(child, ast.FunctionDef) and (
        child.name == "__repr__" or any(ast.unparse(each) == "overload" for each in child.decorator_list)
    ):
        return True
    if field == "decorator_list" and not isinstance(child, ast.Call):
        return True
    # The type that cast() is told.
    if isinstance(parent, ast.Call) and field == "args" and index == 0 and ast.unparse(parent.func) == "cast":
        return True
    # A type alias, and the name of a type variable.
    if isinstance(parent, ast.Assign) and field == "value" and isinstance(child, ast.Call):
        return ast.unparse(child.func) in ("TypeVar", "logging.getLogger")
    # A docstring, or the dots of a body that has nothing else.
    return (
        isinstance(child, ast.Expr)
        and isinstance(child.value, ast.Constant)
        and isinstance(child.value.value, (str, type(...)))
    )


def _speaks(node: ast.AST, field: str) -> bool:
    """Whether strings below are words for people."""
    if isinstance(node, (ast.Raise, ast.JoinedStr, ast.Assert)):
        return True
    if isinstance(node, ast.keyword):
        return node.arg in _SPEAKING_ARGUMENTS
    return isinstance(node, ast.Call) and field != "func" and ast.unparse(node.func).startswith(_SPEAKING)


def _changes(node: ast.AST, *, silent: bool) -> Iterator[Callable[[Any], ast.AST | None]]:
    match node:
        case ast.Compare():
            for place, op in enumerate(node.ops):
                for other in _COMPARED[type(op)]:
                    yield _compared(place, other)
        case ast.BoolOp():
            yield _connective
        case ast.UnaryOp(op=ast.Not()):
            yield lambda node: node.operand
        case ast.UnaryOp(op=ast.USub()):
            yield lambda node: node.operand
        case ast.BinOp() if type(node.op) in _OPERATED and not _is_type(node):
            if not (silent and isinstance(node.op, ast.Add)):
                yield _operator
        case ast.AugAssign() if type(node.op) in _OPERATED:
            yield _operator
        case ast.Constant():
            yield from _constants(node, silent=silent)
        case ast.If() | ast.While() | ast.IfExp() | ast.Assert() if not isinstance(
            node.test, (ast.Compare, ast.BoolOp, ast.UnaryOp, ast.Constant)
        ):
            yield _negated
        case ast.comprehension(ifs=[first, *_]) if not isinstance(
            first, (ast.Compare, ast.BoolOp, ast.UnaryOp)
        ):
            yield _unfiltered
        case ast.Return(value=value) if value is not None and not _is_nothing(value):
            yield lambda node: ast.Return(ast.Constant(None))
        case ast.Break():
            yield lambda node: ast.Continue()
        case ast.Continue():
            yield lambda node: ast.Break()
        case ast.Raise():
            yield lambda node: ast.Pass()
        case ast.Expr(value=ast.Call() as call) if not ast.unparse(call.func).startswith(_SPEAKING[:3]):
            yield lambda node: ast.Pass()
        case ast.Expr(value=ast.Await()):
            yield lambda node: ast.Pass()
        case ast.Delete():
            yield lambda node: ast.Pass()
        case _:
            pass


def _is_nothing(node: ast.expr) -> bool:
    """None and False are the same to whoever asks whether."""
    return isinstance(node, ast.Constant) and node.value in (None, False)


def _is_none(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is None


def _is_type(node: ast.BinOp) -> bool:
    """``int | None`` at the top of a module is an alias."""
    return (
        isinstance(node.op, ast.BitOr)
        and all(
            isinstance(each, (ast.Name, ast.Attribute, ast.Subscript, ast.BinOp)) or _is_none(each)
            for each in (node.left, node.right)
        )
        and any(ast.unparse(each)[0].isupper() or _is_none(each) for each in (node.left, node.right))
    )


def _compared(place: int, other: type[ast.cmpop]) -> Callable[[Any], None]:
    def change(node: Any) -> None:
        node.ops[place] = other()

    return change


def _connective(node: Any) -> None:
    node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()


def _operator(node: Any) -> None:
    node.op = _OPERATED[type(node.op)]()


def _negated(node: Any) -> None:
    node.test = ast.UnaryOp(ast.Not(), node.test)


def _unfiltered(node: Any) -> None:
    node.ifs = node.ifs[1:]


def _constants(node: ast.Constant, *, silent: bool) -> Iterator[Callable[[Any], ast.AST | None]]:
    value = node.value
    if isinstance(value, bool):
        yield lambda node: ast.Constant(not node.value)
    elif isinstance(value, (int, float)):
        yield lambda node: ast.Constant(node.value + 1)
    elif isinstance(value, str) and value and not silent and not (len(value) > 30 and " " in value):
        yield lambda node: ast.Constant(node.value + "XX")
