#!/bin/sh
# See to it that there is a ClickHouse server for the tests: the binary named by POOLHOUSE_TEST_CLICKHOUSE, one that is
# installed already, or Debian's package.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin
if [ -n "${POOLHOUSE_TEST_CLICKHOUSE:-}" ]; then
    command -v "$POOLHOUSE_TEST_CLICKHOUSE" >/dev/null && exit 0
    echo "POOLHOUSE_TEST_CLICKHOUSE=$POOLHOUSE_TEST_CLICKHOUSE: no such program" >&2
    exit 1
fi
command -v clickhouse-server >/dev/null && exit 0
if ! command -v apt-get >/dev/null; then
    echo "there is no clickhouse-server here, and no apt-get to install it: name a server's binary by" \
        "POOLHOUSE_TEST_CLICKHOUSE" >&2
    exit 1
fi
exec "$(dirname "$0")/apt-install.sh" clickhouse-server
