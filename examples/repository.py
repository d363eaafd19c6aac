"""A repository over a pool: the only place of a service that knows SQL, configured from the environment.

    python examples/repository.py                                                  the embedded engine, in memory
    CLICKHOUSE_HOST=localhost POOLHOUSE_POOL_SIZE=20 python examples/repository.py a server

``POOLHOUSE_URL``, or ``CLICKHOUSE_HOST`` and its like, say where the documents are; ``POOLHOUSE_POOL_SIZE`` and its
like say how many connections there may be.
"""

from __future__ import annotations

import asyncio
from dataclasses import astuple, dataclass, fields
from typing import Any

from poolhouse import AsyncEngine, create_async_engine, text, url_from_env


@dataclass(frozen=True)
class Document:
    id: int
    title: str
    pages: int


COLUMNS = [field.name for field in fields(Document)]


class DocumentRepository:
    """Stores and finds documents. It borrows for each call and holds nothing in between."""

    def __init__(self, engine: AsyncEngine, table: str = "poolhouse_documents") -> None:
        self._engine = engine
        self._table = table

    async def create(self) -> None:
        await self._engine.command(
            f"CREATE TABLE IF NOT EXISTS {self._table} (id UInt64, title String, pages UInt32) ENGINE = Memory"
        )

    async def drop(self) -> None:
        await self._engine.command(f"DROP TABLE IF EXISTS {self._table}")

    async def store(self, *documents: Document) -> None:
        """One insert for all of them."""
        async with self._engine.begin() as unit:
            unit.add_all(self._table, map(astuple, documents), COLUMNS)

    async def find(self, number: int) -> Document | None:
        row = await self._one(f"SELECT {', '.join(COLUMNS)} FROM {self._table} WHERE id = :id", id=number)
        return Document(*row) if row else None

    async def count(self) -> int:
        row = await self._one(f"SELECT count() FROM {self._table}")
        return int(row[0])

    async def _one(self, sql: str, **values: Any) -> Any:
        return (await self._engine.execute(text(sql), values)).first()


async def main() -> None:
    # Another thing than a missing variable in production: the fallback to memory is asked for, here.
    async with create_async_engine(url_from_env(default="chdb://")) as engine:
        documents = DocumentRepository(engine)
        await documents.drop()
        await documents.create()
        await asyncio.gather(*(documents.store(Document(n, f"document {n}", n * 10)) for n in range(100)))
        print("stored:", await documents.count())
        found = await asyncio.gather(*(documents.find(n) for n in range(100)))
        print("found:", sum(document is not None for document in found))
        print("document 7:", await documents.find(7))
        print("document 700:", await documents.find(700))
        stats = engine.pool.stats()
        print(
            f"connections opened: {stats.connects}, at most {stats.capacity} at a time, for {stats.loans} loans"
        )
        await documents.drop()


if __name__ == "__main__":
    asyncio.run(main())
