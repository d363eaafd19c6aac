"""``sessionmaker``: sessions of one engine, made by a call."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from poolhouse.errors import ConfigError

from .sync import Session

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from poolhouse.engine.sync import Engine

__all__ = ["sessionmaker"]


class sessionmaker:  # noqa: N801 - the name that users of SQLAlchemy look for
    """Makes sessions of one engine.

    Args:
        bind: The engine.
        settings: ClickHouse settings of every session (default None).
        database: The database of every session (default None: the engine's).

    Raises:
        ConfigError: *bind* is no engine.

    >>> from poolhouse import create_engine
    >>> with create_engine("chdb://") as engine:
    ...     SessionLocal = sessionmaker(bind=engine)
    ...     with SessionLocal() as session:
    ...         session.execute("SELECT 1").scalar()
    1
    """

    def __init__(
        self, bind: Engine, *, settings: Mapping[str, Any] | None = None, database: str | None = None
    ) -> None:
        from poolhouse.engine.sync import Engine

        if not isinstance(bind, Engine):
            raise ConfigError(f"bind: must be an Engine, not {type(bind).__name__}")
        self._bind = bind
        self._options: dict[str, Any] = {"settings": settings, "database": database}

    def __call__(self) -> Session:
        """A new session."""
        return Session(self._bind, **self._options)

    def begin(self) -> AbstractContextManager[Session]:
        """A new session as a unit of work; see :meth:`poolhouse.Session.begin`."""
        return self().begin()
