"""What the figures were taken on, and on what else was running there."""

from __future__ import annotations

import os
import platform
import re
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

__all__ = ["describe", "versions"]

PACKAGES = (
    "clickhouse-chorm", "sqlalchemy", "psycopg-pool", "asyncpg", "asynch", "aiomysql", "clickhouse-pool",
    "clickhouse-connect", "clickhouse-driver",
)  # fmt: skip


def describe() -> dict[str, str]:
    """Processor, cores, memory, kernel, Python, and the load before the run."""
    cpu = re.search(r"model name\s*: (.*)", _read("/proc/cpuinfo"))
    memory = re.search(r"MemTotal: *(\d+)", _read("/proc/meminfo"))
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "processor": cpu[1].strip() if cpu else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "memory": f"{int(memory[1]) / 2**20:.0f} GiB" if memory else "unknown",
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "switch interval": f"{sys.getswitchinterval() * 1e3:g} ms",
        "load before": ", ".join(f"{load:.2f}" for load in os.getloadavg()),
    }


def versions() -> dict[str, str]:
    """The releases of all that was measured."""
    return {name: metadata.version(name) for name in PACKAGES}


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""
