"""The least that hands over in order, in plain Python: permits and a queue, no connection, no time-out, no cancel.

What strict turns cost here in any case; a pool that keeps to them is not much better.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque

__all__ = ["FIFO", "Futures", "Locks"]

FIFO = "a bare FIFO"


class Futures:
    """For tasks of one event loop."""

    def __init__(self, permits: int) -> None:
        self.free = permits
        self.waiting: deque[asyncio.Future[None]] = deque()

    def block(self) -> _Block:
        return _Block(self)


class _Block:
    __slots__ = ("queue",)

    def __init__(self, queue: Futures) -> None:
        self.queue = queue

    async def __aenter__(self) -> None:
        queue = self.queue
        if queue.free:
            queue.free -= 1
            return
        turn = asyncio.get_running_loop().create_future()
        queue.waiting.append(turn)
        await turn

    async def __aexit__(self, *_: object) -> None:
        queue = self.queue
        if queue.waiting:
            queue.waiting.popleft().set_result(None)
        else:
            queue.free += 1


class Locks:
    """For threads."""

    def __init__(self, permits: int) -> None:
        self.free = permits
        self.waiting: deque[threading.Lock] = deque()
        self.mutex = threading.Lock()

    def get(self) -> None:
        with self.mutex:
            if self.free:
                self.free -= 1
                return
            turn = threading.Lock()
            turn.acquire()
            self.waiting.append(turn)
        turn.acquire()

    def put(self, _: object = None) -> None:
        with self.mutex:
            if self.waiting:
                self.waiting.popleft().release()
            else:
                self.free += 1

    def block(self) -> Locks:
        return self

    def __enter__(self) -> None:
        self.get()

    def __exit__(self, *_: object) -> None:
        self.put()
