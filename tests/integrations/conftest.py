"""Fixtures of the faces' tests: the driver as peers use it, and which tests this Python can run."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import nullcontext

import pytest

from tests.support.handshake_rewrite import handshake_rewrite
from tests.support.process import ServerProcess

# CHORM needs Python 3.12.
collect_ignore_glob = ["test_chorm*.py"] if sys.version_info < (3, 12) else []


@pytest.fixture
def peer_server(server: ServerProcess) -> Iterator[ServerProcess]:
    """Each server, and a driver that can connect to it: rewritten on the old one, as it is on the modern one."""
    with handshake_rewrite() if server.kind == "clickhouse" else nullcontext():
        yield server
