"""Run the matrix of faults on real servers and print it as a Markdown table; ends with an error if a cell fails.

python -m tests.faults                        every fault, in both modes and protocols, for three seconds each
python -m tests.faults --hold 1 --only SIGKILL
"""

from __future__ import annotations

import argparse
import sys

from tests.faults.matrix import HEAD, MODES, PROTOCOLS, row, run_cell
from tests.faults.rig import Rig
from tests.faults.table import FAULTS


def main() -> None:
    """Run the cells that are asked for."""
    parser = argparse.ArgumentParser(description="Run the matrix of faults on real servers")
    parser.add_argument("--hold", type=float, default=3.0, help="seconds for which each fault lasts")
    parser.add_argument("--rounds", type=int, default=1, help="how often each cell is run")
    parser.add_argument("--only", default="", help="a part of the names of the faults to run")
    parser.add_argument("--mode", choices=MODES, action="append", help="default: both")
    parser.add_argument("--protocol", choices=PROTOCOLS, action="append", help="default: both")
    options = parser.parse_args()
    wrong: list[str] = []
    print(*HEAD, sep="\n", flush=True)
    for fault in FAULTS:
        if options.only not in fault.name:
            continue
        for protocol in options.protocol or PROTOCOLS:
            with Rig(protocol=protocol, max_connections=fault.max_connections) as rig:
                for mode in (options.mode or list(MODES)) * options.rounds:
                    cell = run_cell(rig, fault, mode, hold=options.hold)
                    print(row(cell), flush=True)
                    wrong += [f"{fault.name}, {cell.mode}: {text}" for text in cell.faults()]
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
