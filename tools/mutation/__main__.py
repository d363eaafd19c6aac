"""Change each decision of the Python code, one at a time, and see that a test notices.

    python -m tools.mutation                     all modules of tools/mutation/targets.py
    python -m tools.mutation url.py config.py    some of them
    python -m tools.mutation --shard 2/4         every fourth mutant, beginning with the second
    python -m tools.mutation --list url.py       the mutants, without running them
    python -m tools.mutation --show url.py       what is known, without running more

It may be broken off and started again: what is known stays in .mutants/. It ends with an error when fewer than 90 % are
noticed, or when one that is not noticed has no reason in docs/mutants.md.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tools.mutation.mutants import Mutant, mutants_of
from tools.mutation.run import KILLED, SURVIVED, TIMED_OUT, Results, load_heavy, run_tests
from tools.mutation.targets import TARGETS

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "poolhouse"
DOCUMENT = ROOT / "docs" / "mutants.md"
NEEDED = 0.90
#: A row of the list of survivors: module, mutant, reason.
_ROW = re.compile(r"^\| `([^`]+)` \| `` ?(.+?) ?`` \| (\S.*) \|$", re.MULTILINE)


@dataclass
class Score:
    """The mutants of one module."""

    target: str
    noticed: int = 0
    survivors: list[Mutant] = field(default_factory=list)
    unknown: int = 0

    @property
    def total(self) -> int:
        return self.noticed + len(self.survivors)


def reasons() -> dict[tuple[str, str], str]:
    """The survivors that docs/mutants.md explains."""
    if not DOCUMENT.exists():
        return {}
    return {
        (module, name.replace("\\|", "|")): why for module, name, why in _ROW.findall(DOCUMENT.read_text())
    }


def run(target: str, shard: tuple[int, int], *, only_show: bool) -> Score:
    """Run the mutants of *target* that are not known yet."""
    file = PACKAGE / target
    tests = TARGETS[target]
    name = "poolhouse." + target.removesuffix(".py").replace("/", ".")
    mutants = mutants_of(file.read_text(), str(file))
    support = sorted((ROOT / "tests" / "support").glob("fakes.py"))
    results = Results(ROOT / ".mutants", target, file, [*(ROOT / test for test in tests), *support])
    mine = mutants[shard[0] - 1 :: shard[1]]
    todo = [each for each in mine if each.name not in results.known]
    if todo and not only_show:
        log = ROOT / ".mutants" / f"log-{shard[0]}"
        base, took = run_tests(name, file, None, tests, cpu=300, wall=900, log=log)
        if base != SURVIVED:
            print(f"{target}: its tests fail as it is ({base}); see {log}", flush=True)
            todo = []
        cpu, wall = int(took * 3) + 5, took * 10 + 30
        for number, mutant in enumerate(todo, 1):
            result, _ = run_tests(name, file, mutant.code, tests, cpu=cpu, wall=wall, log=log)
            if result == TIMED_OUT:
                # The machine may have been busy, or stopped for a while: once more, with more time.
                result, _ = run_tests(name, file, mutant.code, tests, cpu=cpu, wall=wall * 2, log=log)
            results.add(mutant, result)
            if result == SURVIVED:
                print(f"{target}:{mutant.line}: survived: {mutant.name}", flush=True)
            elif number % 50 == 0:
                print(f"{target}: {number} of {len(todo)}", flush=True)
    score = Score(target)
    for mutant in mine:
        known = results.known.get(mutant.name)
        if known in (KILLED, TIMED_OUT):
            score.noticed += 1
        elif known == SURVIVED:
            score.survivors.append(mutant)
        else:
            score.unknown += 1
    return score


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tools.mutation", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("targets", nargs="*", default=list(TARGETS), help="modules (default: all)")
    parser.add_argument(
        "--shard", default="1/1", help="K/N: every Nth mutant, from the Kth (default: %(default)s)"
    )
    parser.add_argument("--list", action="store_true", help="print the mutants")
    parser.add_argument("--show", action="store_true", help="print what is known")
    options = parser.parse_args()
    unknown = [target for target in options.targets if target not in TARGETS]
    if unknown:
        parser.error(f"no such target: {unknown[0]}; there are: {', '.join(TARGETS)}")
    if options.list:
        for target in options.targets:
            for mutant in mutants_of((PACKAGE / target).read_text(), target):
                print(f"{target}:{mutant.line}: {mutant.name}")
        return 0
    first, _, number = options.shard.partition("/")
    shard = int(first), int(number)
    if not options.show:
        load_heavy()
    scores = [run(target, shard, only_show=options.show) for target in options.targets]
    explained = reasons()
    bare = []
    print(f"\n{'module':<28}{'mutants':>9}{'noticed':>9}{'explained':>11}{'score':>8}")
    for score in scores:
        reasoned = [each for each in score.survivors if (score.target, each.name) in explained]
        bare += [(score.target, each) for each in score.survivors if each not in reasoned]
        share = f"{score.noticed / score.total:8.1%}" if score.total else ""
        more = f"  ({score.unknown} not run)" if score.unknown else ""
        print(f"{score.target:<28}{score.total:>9}{score.noticed:>9}{len(reasoned):>11}{share}{more}")
    total, noticed = sum(each.total for each in scores), sum(each.noticed for each in scores)
    print(f"{'all':<28}{total:>9}{noticed:>9}{len(scores) and '':>11}{noticed / max(total, 1):8.1%}")
    for target, mutant in bare:
        print(f"not noticed, and no reason in docs/mutants.md: {target}:{mutant.line}: {mutant.name}")
    if any(score.unknown for score in scores):
        return 2
    return 1 if bare or noticed < NEEDED * total else 0


if __name__ == "__main__":
    sys.exit(main())
