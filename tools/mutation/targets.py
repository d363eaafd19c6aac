"""What is mutated, and which tests must notice.

Decisions only: modules that do no I/O, or whose I/O is a fake's in the tests that are named here. Each line is a module
and what pytest is given for it; these tests need no server and take seconds.
"""

from __future__ import annotations

__all__ = ["TARGETS"]

_UNIT = "tests/unit/"
_PACKAGE = "python/poolhouse/"

TARGETS: dict[str, tuple[str, ...]] = {
    # How errors are read.
    "connectors/judgement.py": (_UNIT + "test_judgement.py",),
    # Where connections go, and how.
    "url.py": (_UNIT + "test_url.py", _PACKAGE + "url.py"),
    "options.py": (
        _UNIT + "test_options.py",
        _UNIT + "test_config_parts.py",
        _UNIT + "test_config.py",
        _UNIT + "test_url.py",
        _UNIT + "test_environment.py",
        _PACKAGE + "options.py",
    ),
    "config.py": (
        _UNIT + "test_config_parts.py",
        _UNIT + "test_config.py",
        _UNIT + "test_environment.py",
        "tests/integrations/test_service_config.py",
        _PACKAGE + "config.py",
    ),
    "layers.py": (
        _UNIT + "test_config_parts.py",
        _UNIT + "test_config.py",
        _UNIT + "test_environment.py",
        _PACKAGE + "layers.py",
    ),
    "environment.py": (_UNIT + "test_environment.py", _PACKAGE + "environment.py"),
    # What a new client asks a server, once.
    "connectors/handshake.py": (_UNIT + "test_handshake.py",),
    "connectors/playback.py": (_UNIT + "test_playback.py",),
    # The reset.
    "connectors/baseline.py": (_UNIT + "test_baseline.py",),
    # How a borrow, a connect, a keepalive and a drain go on.
    "pool/steps.py": (_UNIT + "test_pool_steps.py",),
    "pool/creating.py": (_UNIT + "test_pool_steps.py",),
    "pool/keepalive.py": (_UNIT + "test_pool_steps.py",),
    # What a session makes of statements and rows.
    "session/statement.py": (_UNIT + "test_statements.py", _PACKAGE + "session/statement.py"),
    "session/text.py": (_UNIT + "test_statements.py",),
    "session/batches.py": (_UNIT + "test_statements.py",),
    # Sizes, and secrets in statements.
    "service/sizing.py": (_UNIT + "test_sizing.py", _PACKAGE + "service/sizing.py"),
    "connectors/echo.py": (_UNIT + "test_echo_parts.py", _PACKAGE + "connectors/echo.py"),
}
