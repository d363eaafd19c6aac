"""Expressions among the rows of an INSERT (``now()``, ``1 + 1``): the server is asked what they are.

That happens on the same connection, before the INSERT begins. One text is asked once only where nothing in it can
differ from row to row, so ``generateUUIDv4()`` is new in each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clickhouse_connect.datatypes import numeric, special, string, temporal

from poolhouse.connectors.native_literals import Deferred, Number, Place, Refused, fixed, plain, value

if TYPE_CHECKING:
    from poolhouse.connectors.native_blocks import Block

__all__ = ["STEADY", "Expression", "answered"]

#: Words of expressions that are the same in each row.
STEADY = frozenset(
    {
        "now",
        "today",
        "yesterday",
        "todate",
        "todatetime",
        "tostring",
        "interval",
        "day",
        "hour",
        "and",
        "or",
        "not",
    }
)


@dataclass(slots=True)
class Expression(Deferred):
    """Anything that is no literal; :attr:`value` is the server's answer, of the type :attr:`kind`."""

    text: str
    kind: Any = None
    value: Any = None

    @property
    def question(self) -> str:
        """The statement whose answer is the value."""
        # In parentheses it is an expression and nothing more: no FROM, no second column.
        return f"SELECT ({self.text}\n) AS value"

    def of(self, kind: Any, place: Place) -> Any:
        """The server's answer, where it can become a value of *kind* in one way only."""
        answer = self.value
        if answer is None:
            return value(kind, None, place)
        if isinstance(answer, bytes) and type(kind) in (string.String, string.FixedString):
            return fixed(kind, answer)
        if type(self.kind) is type(kind) and isinstance(kind, (temporal.Date, temporal.DateTime)):
            return answer
        if type(self.kind) is type(kind) is special.UUID:
            return answer
        if isinstance(answer, (float, int)) and not isinstance(answer, bool):
            integral = isinstance(self.kind, numeric.IntBase) and isinstance(kind, numeric.IntBase)
            if integral or (
                isinstance(self.kind, (numeric.Float, numeric.IntBase)) and isinstance(kind, numeric.Float)
            ):
                return plain(kind, Number(repr(answer)), place)
        raise Refused(f"the expression is of type {self.kind.name}; write a literal, or INSERT ... SELECT")


def answered(expression: Expression, blocks: Sequence[Block]) -> None:
    """Note the server's answer on *expression*."""
    for block in blocks:
        if block.rows:
            expression.kind, expression.value = block.types[0], block.columns[0][0]
