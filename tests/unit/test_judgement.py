"""Reading errors."""

from __future__ import annotations

import pytest

from poolhouse.connectors.judgement import HANDSHAKE_CODES, chain, http_error_code


class Coded(Exception):
    """An error that has its code as an attribute, as newer servers let the driver know it."""

    def __init__(self, code: object, text: str = "") -> None:
        super().__init__(text)
        self.code = code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (None, None),
        (ValueError("no code here"), None),
        (RuntimeError("Code: 60, e.displayText() = DB::Exception"), 60),
        (RuntimeError("code:241 and Code: 60"), 241),
        (RuntimeError("Barcode: 60"), None),
        (Coded(60), 60),
        (Coded(0, "Code: 60"), 0),
        (Coded(True, "Code: 60"), 60),
        (Coded(False), None),
        (Coded("60", "Code: 61"), 61),
        (Coded(None, "Code: 61"), 61),
    ],
)
def test_the_code_of_an_error(error: BaseException | None, code: int | None) -> None:
    assert http_error_code(error) == code
    assert type(http_error_code(error)) is type(code)


def test_codes_that_end_what_a_handshake_learnt() -> None:
    """UNKNOWN_SETTING, READONLY, SETTING_CONSTRAINT_VIOLATION, and a setting that cannot be changed."""
    assert sorted(HANDSHAKE_CODES) == [115, 164, 452, 472]


def test_a_chain_of_errors() -> None:
    first, second, third, other = ValueError(1), KeyError(2), OSError(3), TypeError(4)
    third.__cause__, third.__context__ = second, other
    second.__context__ = first
    assert list(chain(third)) == [third, second, first]
    third.__cause__ = None
    assert list(chain(third)) == [third, other]
