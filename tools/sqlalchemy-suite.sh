#!/bin/sh
# Run SQLAlchemy's own tests of its pools with poolhouse's in their place: sqlalchemy-suite.sh PYTHON FOLDER.
# The tests are not in the wheel of SQLAlchemy: they come from the source of the release that PYTHON has installed.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=$1 folder=$2
version=$("$python" -c 'import sqlalchemy; print(sqlalchemy.__version__)')
source=$folder/sqlalchemy-$version
if [ ! -f "$source/test/engine/test_pool.py" ]; then
    mkdir -p "$folder"
    "$python" -m pip download --quiet --no-deps --no-binary sqlalchemy --dest "$folder" "sqlalchemy==$version"
    tar -xzf "$source.tar.gz" -C "$folder"
fi
python=$(cd "$(dirname "$python")" && pwd)/$(basename "$python")
cd "$source"
PYTHONPATH=$root/tools:$root/python exec "$python" -m pytest -p sqlalchemy_suite -p no:cacheprovider -q --no-header \
    --show-capture=no test/engine/test_pool.py
