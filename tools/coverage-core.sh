#!/bin/sh
# Line coverage of the core by its own tests: print it file by file, and the lines that no test reached; fail below LEAST per cent.
#
#   tools/coverage-core.sh [LEAST]      98 unless told
#
# rustc instruments, and the LLVM tools of the same major version count. rustup's llvm-tools would do as well, where they can be had.
set -eu
cd "$(dirname "$0")/.."
least=${1:-98}
out=target/coverage
major=$(rustc -vV | sed -n 's/^LLVM version: \([0-9]*\).*/\1/p')
command -v "llvm-cov-$major" >/dev/null || tools/apt-install.sh "llvm-$major"

rm -rf "$out/profiles"
mkdir -p "$out/profiles"
export RUSTFLAGS=-Cinstrument-coverage
export LLVM_PROFILE_FILE="$PWD/$out/profiles/%p-%m.profraw"
export POOLHOUSE_CASES=${POOLHOUSE_CASES:-3000} POOLHOUSE_SCHEDULES=${POOLHOUSE_SCHEDULES:-2000}

# Builds, runs, and prints the programs of the tests.
run() {
    cargo test --quiet --package poolhouse-core --target-dir "$out" "$@" >&2
    cargo test --quiet --package poolhouse-core --target-dir "$out" "$@" --no-run --message-format json |
        sed -n 's/.*"executable":"\([^"]*\)".*/--object \1/p'
}
programs=$(run --lib --test model --test waiters --test threads; run --features shuttle --test 'shuttle_*')
"llvm-profdata-$major" merge -sparse "$out"/profiles/*.profraw -o "$out/core.profdata"

# Tests are no part of it, nor is what is compiled with the planted faults only.
ignore='--ignore-filename-regex=(\.cargo|rustc|rust/core/tests|src/tests\.rs|src/planted\.rs)'
# shellcheck disable=SC2086  # a list of options
"llvm-cov-$major" report $programs --instr-profile "$out/core.profdata" "$ignore" --show-region-summary=false \
    --show-branch-summary=false | tee "$out/report"
# shellcheck disable=SC2086
"llvm-cov-$major" show $programs --instr-profile "$out/core.profdata" "$ignore" --show-instantiations=false > "$out/lines"
printf '\nLines that no test reached (all in %s/lines):\n' "$out"
awk '/^\// { file = $1 } /^ *[0-9]+\| *0\|/ { print file $0 }' "$out/lines" | sed "s#^$PWD/rust/core/src/##"
awk -v least="$least" '/^TOTAL/ { sub("%", "", $NF); print "\nlines covered: " $NF " %"; exit $NF < least }' "$out/report"
