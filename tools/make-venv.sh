#!/bin/sh
# Make or renew a virtual environment: make-venv.sh FOLDER, with the dependency group "dev" of pyproject.toml in it.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$1
pip_version=26.0  # --group needs 25.1
python=$("$here/find-python.sh")
version='import sys; print(*sys.version_info[:3])'
if [ -x "$folder/bin/python" ] && [ "$("$folder/bin/python" -c "$version")" != "$("$python" -c "$version")" ]; then
    echo "$folder is of another Python than $python: making it anew"
    rm -rf "$folder"
fi
if [ ! -x "$folder/bin/pip" ]; then
    rm -rf "$folder"
    if ! "$python" -c 'import ensurepip' 2>/dev/null && command -v apt-get >/dev/null; then
        "$here/apt-install.sh" python3-venv  # Debian packs it apart
    fi
    "$python" -m venv "$folder"
fi
"$folder/bin/pip" install --quiet --disable-pip-version-check "pip==$pip_version"
"$folder/bin/pip" install --quiet --disable-pip-version-check --group "$here/../pyproject.toml:dev"
