#!/bin/sh
# See to it that there are the proxies that tests put before a server: nginx and haproxy, installed or from Debian.
set -eu
PATH=$PATH:/usr/local/sbin:/usr/sbin
missing=
for program in nginx haproxy; do
    command -v "$program" >/dev/null || missing="$missing $program"
done
[ -z "$missing" ] && exit 0
if ! command -v apt-get >/dev/null; then
    echo "there is no$missing here, and no apt-get to install it" >&2
    exit 1
fi
# shellcheck disable=SC2086  # a list of names
exec "$(dirname "$0")/apt-install.sh" $missing
