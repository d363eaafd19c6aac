"""Flask: one engine for each application, a health route.

::

    db = PoolHouse()

    def create_app():
        app = Flask(__name__)
        app.config["POOLHOUSE_URL"] = "clickhouse://localhost/default"
        app.config["POOLHOUSE_OPTIONS"] = {"profile": "production"}
        db.init_app(app)
        return app

    @app.get("/users/count")
    def count():
        with db.engine.connection() as conn:
            return {"count": conn.query("SELECT count() FROM users").result_rows[0][0]}

Behind a pre-forking server the application may be made before the fork (``gunicorn --preload``): an engine connects to
nothing before its first borrow, and a forked worker starts with an empty pool of its own. A worker that ends in an
orderly way (gunicorn's do, after their last answer) drains its pool by ``atexit``.
"""

from __future__ import annotations

import atexit
import weakref
from typing import TYPE_CHECKING, Any

from poolhouse.engine.sync import Engine, create_engine
from poolhouse.errors import ConfigError
from poolhouse.options import SECONDS

if TYPE_CHECKING:
    from flask import Flask

    from poolhouse.service.health import PoolHealth

__all__ = ["PoolHouse"]

_KEY = "poolhouse"


class PoolHouse:
    """The extension. It holds no engine itself: each application has one, in ``app.extensions``.

    Args:
        app: The application, for :meth:`init_app` at once (default None).
        options: For :meth:`init_app`.
    """

    def __init__(self, app: Flask | None = None, **options: Any) -> None:
        if app is not None:
            self.init_app(app, **options)
        elif options:
            raise ConfigError("app: must be given together with options; else give them to init_app()")

    def init_app(
        self,
        app: Flask,
        url: str | None = None,
        *,
        drain: float = 10.0,
        health: str | None = "/health",
        **options: Any,
    ) -> None:
        """Make the engine of *app*. It connects to nothing yet.

        Args:
            app: The application.
            url: The URL (default: ``app.config["POOLHOUSE_URL"]``, else the environment).
            drain: Seconds that borrowers get at the end of the process (default 10).
            health: Where the health route is (default ``"/health"``), or None for none.
            options: Keywords of :func:`poolhouse.create_engine`, over those in ``app.config["POOLHOUSE_OPTIONS"]``.

        Raises:
            ConfigError: *app* has an engine already, or an option is not allowed.
        """
        if _KEY in app.extensions:
            raise ConfigError("app: must not have an engine of poolhouse already")
        patience = SECONDS.check(drain, argument="drain")
        where = url if url is not None else app.config.get("POOLHOUSE_URL")
        engine = create_engine(where, **{**app.config.get("POOLHOUSE_OPTIONS", {}), **options})
        app.extensions[_KEY] = engine
        atexit.register(_drain, weakref.ref(engine), patience)
        if health is not None:
            app.add_url_rule(health, "poolhouse_health", self._health_route)

    @property
    def engine(self) -> Engine:
        """The engine of the current application.

        Raises:
            ConfigError: ``init_app()`` was not called for it.
            RuntimeError: There is no current application (Flask's own error).
        """
        from flask import current_app

        try:
            engine: Engine = current_app.extensions[_KEY]
        except KeyError:
            raise ConfigError("app: has no engine of poolhouse; call init_app(app)") from None
        return engine

    def health(self) -> PoolHealth:
        """The health of the current application's pool; see :class:`poolhouse.PoolHealth`."""
        from poolhouse.service.health import PoolHealthMonitor

        return PoolHealthMonitor(self.engine).check_health()

    def _health_route(self) -> Any:
        found = self.health()
        return found.body(), found.http_status


def _drain(reference: weakref.ref[Engine], patience: float) -> None:
    engine = reference()
    if engine is not None:
        engine.drain(patience)
