"""A Flask service: users from ClickHouse, with a pool for each worker process.

    gunicorn --workers 2 --threads 8 examples.flask_app:app        before or after the fork: both work (--preload)

It runs where POOLHOUSE_URL says, and without it on the embedded engine, in memory.
"""

from __future__ import annotations

from typing import Any

from flask import Flask

from poolhouse import text, url_from_env
from poolhouse.flask import PoolHouse

db = PoolHouse()


def create_app(url: str | None = None) -> Flask:
    app = Flask(__name__)
    db.init_app(
        app,
        url or url_from_env(default="chdb://"),
        profile="production",
        # Fail fast: a browser does not wait for 30 seconds.
        pool_timeout=5,
    )

    @app.get("/users/count")
    def count() -> dict[str, Any]:
        with db.engine.connection() as conn:
            return {"count": conn.query("SELECT count() FROM numbers(1000)").result_rows[0][0]}

    @app.get("/users/<int:number>")
    def user(number: int) -> Any:
        row = db.engine.execute(
            text(
                "SELECT number AS id, concat('user', toString(number)) AS name FROM numbers(1000) WHERE number = :id"
            ),
            {"id": number},
        ).first()
        return row._asdict() if row else ({"error": "not found"}, 404)

    return app


app = create_app()

if __name__ == "__main__":
    client = app.test_client()
    for path in ("/users/count", "/users/7", "/users/5000", "/health"):
        answer = client.get(path)
        print(path, answer.status_code, answer.get_data(as_text=True).strip())
