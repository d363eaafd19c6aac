"""Print the bytes that one waiting task, or one idle connection, takes: ``python -m benches.memory_probe KIND PEER``.

To be run with ``PYTHONMALLOC=malloc``, so that C's allocator knows of everything, native code and interpreter alike.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import sys
from typing import Any

from benches.peers import tasks, threads

COUNTS = {"waiter": 10_000, "connection": 1_000}


class _Mallinfo(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    ]


_libc = ctypes.CDLL(None)
_libc.mallinfo2.restype = _Mallinfo


def in_use() -> int:
    """Bytes that are allocated now, by any code of this process."""
    gc.collect()
    info = _libc.mallinfo2()
    return int(info.uordblks + info.hblkhd)


async def waiter(peer: str, count: int) -> float:
    if peer not in tasks.OPENERS:
        loop = asyncio.get_running_loop()
        return await _grown([loop.create_future for _ in range(count)])
    pool = await tasks.OPENERS[peer](1)
    assert pool.get is not None
    assert pool.put is not None
    conn = await pool.get()
    # One round first: what is made once for all is no waiter's.
    first = asyncio.create_task(_awaited(pool.get))
    await asyncio.sleep(0.01)
    await pool.put(conn)
    conn = await first
    return await _grown([pool.get] * count)


async def _awaited(make: Any) -> Any:
    return await make()


async def _grown(makers: list[Any]) -> float:
    crew: list[Any] = [None] * len(makers)
    before = in_use()
    for at, make in enumerate(makers):
        crew[at] = asyncio.create_task(_awaited(make))
    for _ in range(5):
        await asyncio.sleep(0.02)
    grown = in_use() - before
    # Nobody needs what they wait for; the process ends here.
    for each in crew:
        each.cancel()
    await asyncio.gather(*crew, return_exceptions=True)
    return grown / len(makers)


def connection(peer: str, count: int) -> float:
    warm = threads.OPENERS[peer](1)
    warm.put(warm.get())
    before = in_use()
    pool = threads.OPENERS[peer](count)
    lent = [pool.get() for _ in range(count)]
    for conn in lent:
        pool.put(conn)
    del lent, conn
    grown = in_use() - before
    pool.close()
    warm.close()
    return grown / count


def main() -> None:
    kind, peer = sys.argv[1:]
    count = COUNTS[kind]
    print(asyncio.run(waiter(peer, count)) if kind == "waiter" else connection(peer, count))


if __name__ == "__main__":
    main()
