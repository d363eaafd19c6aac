"""Pools for SQLAlchemy 2.0 and 2.1, for any of its dialects: the classes of ``sqlalchemy.pool`` on poolhouse's core.

::

    from sqlalchemy import create_engine
    from poolhouse.sqlalchemy import QueuePool

    engine = create_engine(url, poolclass=QueuePool)

=================  ==========================================================================================
``QueuePool``      in place of ``sqlalchemy.pool.QueuePool``
``AsyncQueuePool`` in place of ``sqlalchemy.pool.AsyncAdaptedQueuePool``, for ``create_async_engine``
``NullPool``       in place of ``sqlalchemy.pool.NullPool``
``StaticPool``     in place of ``sqlalchemy.pool.StaticPool``
=================  ==========================================================================================

Each is a subclass of the class that it replaces, with its arguments and its methods. What is done with a connection
(events, pre-ping, recycling, reset on return, invalidation, logging) is SQLAlchemy's own code; who gets which, and
who waits, is decided by the core. Two things are better than before: borrowers who wait are served in the order in
which they came, and a connect that fails passes its turn to the next of them at once.

``records`` has the core's side: pools whose "connections" are SQLAlchemy's connection records.
"""

from __future__ import annotations

try:
    import sqlalchemy as _sqlalchemy
except ImportError as error:
    raise ImportError(
        "poolhouse.sqlalchemy needs SQLAlchemy 2.0 or later: pip install 'poolhouse[sqlalchemy]'"
    ) from error
if int(_sqlalchemy.__version__.partition(".")[0]) < 2:
    raise ImportError(f"poolhouse.sqlalchemy needs SQLAlchemy 2.0 or later, not {_sqlalchemy.__version__}")

from poolhouse.sqlalchemy.queue import AsyncQueuePool, QueuePool
from poolhouse.sqlalchemy.single import NullPool, StaticPool

__all__ = ["AsyncQueuePool", "NullPool", "QueuePool", "StaticPool"]
