"""A FastAPI service: users from ClickHouse, with one pool for the process.

    uvicorn examples.fastapi_app:app

It runs where POOLHOUSE_URL says, and without it on the embedded engine, in memory.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException

from poolhouse import text, url_from_env
from poolhouse.fastapi import PoolHouse

db = PoolHouse(url_from_env(default="chdb://"), profile="production", pool_timeout=5)
app = FastAPI(lifespan=db.lifespan)
app.include_router(db.health_router())


@app.get("/users/count")
async def count(conn: Annotated[Any, Depends(db.connection)]) -> dict[str, Any]:
    return {"count": (await conn.query("SELECT count() FROM numbers(1000)")).result_rows[0][0]}


@app.get("/users/{number}")
async def user(number: int) -> dict[str, Any]:
    found = await db.engine.execute(
        text(
            "SELECT number AS id, concat('user', toString(number)) AS name FROM numbers(1000) WHERE number = :id"
        ),
        {"id": number},
    )
    row = found.first()
    if row is None:
        raise HTTPException(404)
    return row._asdict()


async def get(path: str) -> tuple[int, Any]:
    """Ask the application without a server: a request and its answer, as ASGI has them."""
    answer: list[MutableMapping[str, Any]] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
    }
    scope |= {"path": path, "raw_path": path.encode(), "query_string": b"", "headers": [], "root_path": ""}

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        answer.append(message)

    await app(scope, receive, send)
    return answer[0]["status"], json.loads(b"".join(part.get("body", b"") for part in answer))


async def main() -> None:
    async with app.router.lifespan_context(app):
        for path in ("/users/count", "/users/7", "/users/5000", "/health"):
            print(path, *await get(path))


if __name__ == "__main__":
    asyncio.run(main())
