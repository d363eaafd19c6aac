#!/bin/sh
# Run something of ours on several interpreters: on-pythons.sh MATURIN FOLDER "MODULE ARGUMENTS" VERSION... A version that is
# not found here is left out, but not the last one that is left. 3.13t is the free-threaded one, which is built where there is
# none. For each, the module is built and installed into an environment of its own in FOLDER, with nothing else.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
maturin=$1 folder=$2 program=$3
shift 3
ran=

for version in "$@"; do
    source=$root
    if [ "$version" = 3.13t ]; then
        python=$("$root/tools/freethreaded-python.sh" "$folder/python3.13t")
        # The newest PyO3 that supports 3.13t is 0.28.3. It has two advisories, RUSTSEC-2026-0176 and RUSTSEC-2026-0177,
        # so it is for this test only, in a copy: the lock file and what is shipped have the newer release.
        source=$folder/source
        rm -rf "$source"
        mkdir -p "$source"
        cp -a "$root/Cargo.toml" "$root/Cargo.lock" "$root/pyproject.toml" "$root/README.md" "$root/rust" "$root/python" \
            "$root"/LICENSE-* "$source"
        (
            cd "$source"
            cargo update --quiet --package pyo3 --precise 0.28.3
            # PyO3 brought its own with it; ours is still another.
            other=$(awk '$3 == "\"pyo3-build-config\"" {found = 1} found && $1 == "version" {print $3; found = 0}' Cargo.lock |
                tr -d '"' | grep -v '^0\.28\.3$' || true)
            [ -z "$other" ] || cargo update --quiet --package "pyo3-build-config@$other" --precise 0.28.3
        )
    else
        python=$(POOLHOUSE_PYTHON=python$version "$root/tools/find-python.sh" 2>/dev/null) || continue
    fi
    echo "== Python $version: $python"
    rm -rf "$folder/wheel-$version"
    CARGO_TARGET_DIR=$folder/target-$version PYO3_PYTHON=$python "$maturin" build --quiet --release \
        --manifest-path "$source/rust/python/Cargo.toml" -i "$python" --out "$folder/wheel-$version"
    rm -rf "$folder/venv-$version"
    "$python" -m venv "$folder/venv-$version"
    "$folder/venv-$version/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps \
        "$folder/wheel-$version"/*.whl
    # shellcheck disable=SC2086 - a module and its arguments
    (cd "$root" && "$folder/venv-$version/bin/python" -X faulthandler -m $program)
    ran="$ran $version"
done
[ -n "$ran" ] || { echo "none of these Pythons was found: $*" >&2; exit 1; }
echo "done on:$ran"
