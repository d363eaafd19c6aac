"""Run the stress for a time and say what came of it; ends with an error if anything was lost or wrong.

python -X faulthandler -m tests.stress --seconds 60
python3.13t -X faulthandler -m tests.stress --seconds 60 --free-threaded
"""

from __future__ import annotations

import argparse
import logging
import random
import sys

from tests.stress.crowd import Crowd, stamp_cycles, uncollected


def main() -> None:
    """Run it."""
    parser = argparse.ArgumentParser(description="Stress the pools from real threads and event loops")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 30))
    parser.add_argument("--free-threaded", action="store_true", help="insist on an interpreter without a GIL")
    options = parser.parse_args()
    if options.free_threaded and getattr(sys, "_is_gil_enabled", lambda: True)():
        sys.exit("the GIL is on: this is no free-threaded interpreter, or an import has switched the GIL on")
    logging.getLogger("poolhouse.pool").setLevel(logging.CRITICAL)  # of connects that fail as planned
    wrong = stamp_cycles(threads=16, cycles=10_000)
    print(f"16 threads x 10000 cycles: {len(wrong)} wrong", flush=True)
    wrong += uncollected()
    report = Crowd(options.seed).run(options.seconds)
    print(report, flush=True)
    wrong += report.wrong
    if wrong or report.lost:
        sys.exit("\n".join([f"seed {options.seed}: {report.lost} connections lost", *wrong]))


if __name__ == "__main__":
    main()
