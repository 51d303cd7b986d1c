"""Mutants of the gate, comparisons, the client's metrics and the analytical model: do the tests notice?

python -m perf_tests.tools.mutation             makes and tests all of them, for half an hour; writes docs/mutation.md
python -m perf_tests.tools.mutation MODULE...   only those of some modules, and keeps what the last time found of the others
python -m perf_tests.tools.mutation --rest      only those not tested yet, with MODULE... of these modules
python -m perf_tests.tools.mutation --again     tests those anew that survived the last time, after tests were added
python -m perf_tests.tools.mutation --sample N  N of them, drawn with a fixed seed

What is mutated and by which tests is judged is in pyproject.toml, [tool.mutmut]. Exit status 1 below 85%.
"""

import argparse
import collections
import datetime
import json
import platform
import random
import re
import shutil
import subprocess
import sys
from importlib.metadata import version

from tabulate import tabulate

from perf_tests.paths import ROOT

MUTANTS = ROOT / "mutants"
PAGE = ROOT / "docs" / "mutation.md"
LEAST = 0.85
SURVIVED, UNTESTED = 0, 33
# What no test can notice: the line before and after, and why.
EQUIVALENT = (
    (r"strict=True", r"strict=(None|False)|, \)", "both sides of the zip are made of one list"),
    (r"axis=-1|shape\[-1\]", r"axis=\+1|shape\[\+1\]", "the last axis of a matrix is its second"),
    (r"axis=-1\)", r"(shape|ids), \)|argsort\(-probabilities, kind", "the last axis is the default"),
    (r"CLEAR\[1\]", r"CLEAR\[2\]", "both are 1.12"),
    (r"dtype=float", r"changes, \)", "changes are fractions already"),
    (
        r"together = min\(prompts",
        r"together = min\(max_sequences",
        "prompts that are fewer than there is room for are the rest",
    ),
    (r"if running else 0", r"if running else 1", "where nothing runs its context is not used"),
    (r"in range\(80\)", r"in range\(81\)", "the search has converged"),
    (r"high - low\) / 3", r"high - low\) / 4", "a search of thirds converges by quarters too"),
    (r"< loss\(right\)", r"<= loss\(right\)", "two losses are never equal but at the optimum"),
)
HEAD = """\
# Mutation testing

Which deliberate mistakes in the gate (`fixtures/gate`), its simulation (`fixtures/studies/gate`), comparisons
(`fixtures/comparison`), the client's metrics (`fixtures/client/metrics.py`) and the analytical model (`fixtures/analytical`,
`fixtures/prediction/expectation.py`) no test notices. mutmut changes one expression at a time and runs the tests that come
by it (`[tool.mutmut]` in pyproject.toml says which; help texts of options are left alone). Outside CI: `tox -e mutation`
makes them all and writes this page, with `-- --sample N` so many of them.
"""


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="only its mutants, e.g. fixtures.gate.noise")
    parser.add_argument("--again", action="store_true", help="only those that survived the last time")
    parser.add_argument("--rest", action="store_true", help="only those that were not tested yet")
    parser.add_argument("--sample", type=int, metavar="N", help="so many, drawn with a fixed seed; default: all")
    args = parser.parse_args(arguments)
    if args.again:
        _forget_copies()
        _run(*(name for name, code in results().items() if code in (SURVIVED, UNTESTED)))
    elif args.rest:
        _forget_copies()
        _run(*(name for name, code in _read().items() if code is None and _module(name) in args.modules))
    elif args.modules:
        _forget_copies()
        _run(*(f"{module}.*" for module in args.modules))
    else:
        shutil.rmtree(MUTANTS, ignore_errors=True)
        if args.sample:
            _run("fixtures.session.steadiness.*")  # makes all
            _run(*random.Random(0).sample(sorted(_read()), args.sample))
        else:
            _run()
    found = results()
    PAGE.write_text(page(found, len(_read())), encoding="utf-8")
    share = sum(map(died, found.values())) / len(found)
    print(f"{share:.1%} of {len(found)} mutants died; {PAGE.relative_to(ROOT)} lists the others")
    return int(share < LEAST)


def died(code: int) -> bool:
    """Whether a test failed, or took many times as long."""
    return code not in (SURVIVED, UNTESTED)


def results() -> dict[str, int]:
    """The exit status of the tests of each mutant that was tested."""
    return {name: code for name, code in _read().items() if code is not None}


def page(found: dict[str, int], made: int) -> str:
    """What died and what didn't, as markdown."""
    modules = collections.defaultdict(list)
    for name, code in found.items():
        modules[_module(name)].append(died(code))
    rows = [(module, len(all_), sum(all_), f"{sum(all_) / len(all_):.0%}") for module, all_ in sorted(modules.items())]
    total = sum(map(died, found.values()))
    rows.append(("together", len(found), total, f"{total / len(found):.1%}"))
    versions = f"mutmut {version('mutmut')}, Python {platform.python_version()}, {datetime.date.today().isoformat()}"
    tested = f" {len(found)} of {made} mutants were tested." if len(found) < made else ""
    parts = [HEAD, f"{versions}.{tested}\n", tabulate(rows, ("module", "mutants", "died", ""), "pipe"), ""]
    survivors = [name for name, code in found.items() if not died(code)]
    same = {name: why for name in survivors if (why := _equivalent(_diff(name)))}
    others = [name for name in survivors if name not in same]
    parts += [f"## Survivors: {len(others)}\n", *_listed(others, found, {})]
    parts += [
        f"## Equivalent: {len(same)}\n",
        "The program does the same; no test can tell.\n",
        *_listed(list(same), found, same),
    ]
    return "\n".join(parts)


def _listed(names: list[str], found: dict[str, int], reasons: dict[str, str]) -> list[str]:
    lines = []
    for module in sorted({_module(name) for name in names}):
        lines += [f"### {module}\n", "```diff"]
        for name in names:
            if _module(name) == module:
                why = reasons.get(name) or ("no test comes by" if found[name] == UNTESTED else "")
                lines += [f"@@ {name.removeprefix(module + '.')} @@{' ' + why if why else ''}", *_diff(name)]
        lines += ["```", ""]
    return lines


def _equivalent(diff: list[str]) -> str:
    before, after = ("\n".join(line for line in diff if line[0] == sign) for sign in "-+")
    return next((why for old, new, why in EQUIVALENT if re.search(old, before) and re.search(new, after)), "")


def _diff(name: str) -> list[str]:
    """The lines that a mutant takes away and adds."""
    from mutmut.mutation.diff_apply import get_diff_for_mutant

    lines = get_diff_for_mutant(name).splitlines()
    return [line for line in lines if line[:1] in ("-", "+") and line[:3] not in ("---", "+++")]


def _module(name: str) -> str:
    return name.rsplit(".", 1)[0]


def _read() -> dict[str, int | None]:
    found: dict[str, int | None] = {}
    for path in sorted(MUTANTS.rglob("*.meta")):
        found |= json.loads(path.read_text(encoding="utf-8"))["exit_code_by_key"]
    return found


def _forget_copies() -> None:
    # mutmut leaves a file alone that it copied once. What it found stays valid by function.
    for path in MUTANTS.rglob("*"):
        if path.is_file() and path.suffix != ".meta" and path.name != "mutmut-stats.json":
            path.unlink()


def _run(*names: str) -> None:
    # One at a time: some tests have a server of their own, and a busy machine slows it.
    subprocess.run([sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names], cwd=ROOT, check=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
