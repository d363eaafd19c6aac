#!/bin/sh
# Print the path of the Python to use: the one named by POOLHOUSE_PYTHON, else the first from 3.11 to 3.14 that is found,
# 3.12 before the others. A name on the PATH may be a shim of a version manager that leads nowhere, so each candidate is
# asked; behind the names come the interpreters that pyenv and uv keep off the PATH.
set -eu
fits='import sys; sys.version_info[:2] in {(3, 11), (3, 12), (3, 13), (3, 14)} or sys.exit(1); print(sys.executable)'
pyenv=${PYENV_ROOT:-$HOME/.pyenv}/versions
uv=${UV_PYTHON_INSTALL_DIR:-$HOME/.local/share/uv/python}

candidates() {
    if [ -n "${POOLHOUSE_PYTHON:-}" ]; then
        names=$POOLHOUSE_PYTHON
    else
        names='python3.12 python3.13 python3.11 python3.14 python3 python'
    fi
    for name in $names; do
        echo "$name"
        case $name in
        python3.*) ls -d "$pyenv/${name#python}".*/bin/python "$uv/cpython-${name#python}".*/bin/python 2>/dev/null || true ;;
        esac
    done
}

for candidate in $(candidates); do
    if "$candidate" -c "$fits" 2>/dev/null; then
        exit 0
    fi
done
echo "no Python from 3.11 to 3.14 was found among:" $(candidates) "- name one by POOLHOUSE_PYTHON" >&2
exit 1
