"""What tells that a handshake does not fit the server which answers now."""

from __future__ import annotations

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError

from poolhouse.connectors.http_alike import Learnt


class Transport(Learnt):
    def __init__(self, *, shown: object = True) -> None:
        self.show_clickhouse_errors = shown
        self.forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1


def started(**options: object) -> Transport:
    transport = Transport(**options)
    transport.learnt(["best_effort", "mine"], ["progress"], {"mine": 1}, transport.forget)
    return transport


@pytest.mark.parametrize(
    ("text", "refuted"),
    [
        ("Unknown setting best_effort", True),
        ("Unknown setting progress", True),
        ("Unknown setting client_protocol_version", True),
        ("Unknown setting mine", False),
        ("Unknown setting best_efort. Maybe you meant ['best_effort']", False),
    ],
)
def test_a_refusal_of_what_the_driver_sends_refutes_the_handshake(text: str, refuted: bool) -> None:
    transport = started()
    assert transport.refuted_by(DatabaseError(f"Code: 115, {text}", code=115)) is refuted
    assert transport.forgotten == 1


def test_other_errors_say_nothing_of_it() -> None:
    transport = started()
    assert not transport.refuted_by(DatabaseError("Code: 60, no table best_effort", code=60))
    assert transport.forgotten == 0


def test_where_texts_are_hidden_any_refusal_of_a_setting_counts() -> None:
    assert started(shown=False).refuted_by(DatabaseError("it failed", code=115))
    assert not started(shown="scrub").refuted_by(DatabaseError("it failed", code=115))


def test_before_the_start_is_over_it_is_an_answer() -> None:
    assert not Transport().refuted_by(DatabaseError("Unknown setting client_protocol_version", code=115))
