"""Engines: a pool, the connector that it lends connections of, and the calls that borrow one for a statement."""
