#!/bin/sh
# Build a wheel for every Python from 3.11 to 3.14 found here, install it in a clean environment, and run the examples
# of the README there: test-wheels.sh MATURIN OUTPUT_FOLDER ENVIRONMENTS_FOLDER. Fails if there is no Python at all.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
maturin=$1 output=$2 environments=$3
rm -rf "$output"
built=
for version in 3.11 3.12 3.13 3.14; do
    python=$(POOLHOUSE_PYTHON=python$version "$root/tools/find-python.sh" 2>/dev/null) || continue
    echo "== Python $version: $python"
    "$maturin" build --quiet --release --manifest-path "$root/rust/python/Cargo.toml" -i "$python" --out "$output"
    tag=cp$(echo "$version" | tr -d .)
    wheel=$(ls "$output"/poolhouse-*-"$tag-$tag"-*.whl)
    rm -rf "$environments/$version"
    "$python" -m venv "$environments/$version"
    "$environments/$version/bin/pip" install --quiet --disable-pip-version-check "$wheel[chdb,async]"
    "$environments/$version/bin/python" "$root/tests/support/readme_lines.py" --run 2
    rm -rf "${environments:?}/$version" # a gigabyte each
    built="$built $version"
done
[ -n "$built" ] || { echo "no Python from 3.11 to 3.14 was found" >&2; exit 1; }
echo "wheels built, installed and run for:$built"
