#!/bin/sh
# Print the path of a free-threaded CPython 3.13: freethreaded-python.sh FOLDER. That is the one named by
# POOLHOUSE_FREETHREADED, else one that is installed, else one built into FOLDER from Debian's source package, which takes
# some minutes once. Says on standard error what it does.
set -eu
# Those of our Makefile are not for CPython's, which needs the built-in rules.
unset MAKEFLAGS MFLAGS MAKELEVEL GNUMAKEFLAGS
folder=$1
fits='import sys, sysconfig
sys.version_info[:2] == (3, 13) and sysconfig.get_config_var("Py_GIL_DISABLED") == 1 or sys.exit(1)
print(sys.executable)'

for candidate in ${POOLHOUSE_FREETHREADED:-python3.13t "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.13.*t/bin/python \
    "${UV_PYTHON_INSTALL_DIR:-$HOME/.local/share/uv/python}"/cpython-3.13.*freethreaded*/bin/python "$folder/bin/python3.13t"}; do
    if "$candidate" -c "$fits" 2>/dev/null; then
        exit 0
    fi
done
if [ -n "${POOLHOUSE_FREETHREADED:-}" ]; then
    echo "POOLHOUSE_FREETHREADED=$POOLHOUSE_FREETHREADED is no free-threaded CPython 3.13" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null; then
    echo "there is no free-threaded CPython 3.13 here, and no apt-get to fetch its source: name one by POOLHOUSE_FREETHREADED" >&2
    exit 1
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# Lists of our own: nothing that this machine's apt knows is changed, and it need not be root.
mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/*$' | head -n 1)
mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/source"
echo "deb-src ${mirror:-http://deb.debian.org/debian} trixie main" >"$work/sources.list"
apt() {
    apt-get -qq -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=/dev/null -o APT::Sandbox::User= \
        -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" "$@" >&2
}
echo "building a free-threaded CPython 3.13 into $folder, from Debian's source" >&2
apt update
cd "$work/source"
apt source --download-only --tar-only python3.13
tar -xf python3.13_*.orig.tar.*
cd Python-3.13*
step() {
    if ! "$@" >"$work/log" 2>&1; then
        tail -n 40 "$work/log" >&2
        echo "$* failed" >&2
        exit 1
    fi
}
step ./configure --disable-gil --prefix="$folder"
step make -j"$(nproc)"
step make install
"$folder/bin/python3.13t" -c "$fits"
