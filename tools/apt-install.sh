#!/bin/sh
# Install Debian packages: apt-install.sh PACKAGE..., by sudo where not root. Asks nothing, and starts no service.
set -eu
run=
if [ "$(id -u)" -ne 0 ]; then
    run=sudo
    if ! command -v sudo >/dev/null; then
        echo "cannot install $*: not root, and there is no sudo" >&2
        exit 1
    fi
fi
echo "installing $* by apt-get"
export DEBIAN_FRONTEND=noninteractive
$run apt-get -qq update </dev/null
# RUNLEVEL=1: the package's own service is not started; the tests start servers of their own.
$run env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
    apt-get -qq install -y --no-install-recommends "$@" </dev/null
