"""The ids of requests."""

from __future__ import annotations

import sys
import threading

from poolhouse.connectors.query_id import new_query_id


def test_w2_threads_that_ask_together_get_ids_of_their_own() -> None:
    """By ``create_engine(...)`` every thread draws from one series; so does a signal handler in the middle of that."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    ids: list[list[str]] = [[] for _ in range(8)]
    failed: list[BaseException] = []
    begin = threading.Barrier(len(ids))

    def draw(own: list[str]) -> None:
        begin.wait()
        try:
            own.extend(new_query_id() for _ in range(4000))
        except ValueError as error:
            failed.append(error)

    try:
        threads = [threading.Thread(target=draw, args=(own,)) for own in ids]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert failed == []
    assert len({each for own in ids for each in own}) == 32_000
