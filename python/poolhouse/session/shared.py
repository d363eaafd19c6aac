"""What the sessions of threads and of tasks have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from poolhouse.options import CONNECTION_OPTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["SessionBase"]


class SessionBase:
    """The engine of a session, and what it asks of each connection."""

    def __init__(self, engine: Any, *, settings: Mapping[str, Any] | None, database: str | None) -> None:
        self.engine = engine
        self._held: Any = None
        self._options: dict[str, Any] = {}
        if settings is not None:
            self._options["settings"] = CONNECTION_OPTIONS["settings"].check(settings)
        if database is not None:
            self._options["database"] = CONNECTION_OPTIONS["database"].check(database)

    def _pinned_options(self) -> dict[str, Any]:
        """Like the options, with a session id that nobody else has."""
        import uuid

        return {**self._options, "session_id": f"poolhouse-{uuid.uuid4().hex}"}

    @property
    def pinned(self) -> bool:
        """Whether the session holds a connection of its own now."""
        return self._held is not None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.engine!r}{', pinned' if self.pinned else ''})"
