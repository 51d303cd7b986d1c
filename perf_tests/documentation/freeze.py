"""Freezes baselines as evidence.

    python -m perf_tests.documentation.freeze PLACE ...     places in baselines/, as h200x1 or h200x2/vllm-tp2-random
    ... --baselines DIR h200x1/vllm-tp1-random/m.json       a model's file alone, of baselines that are not committed

They become a set that is named by the engine releases and the weights of their boots. Of a set that is there already the same
files are replaced; those of boots that are no baseline stay, and are named. The set that everything generated rests on stands
in ``evidence/__init__.py``.
"""

import argparse
import shutil
import sys
from pathlib import Path

from fixtures.command import command
from fixtures.errors import UsageError
from fixtures.store import baseline
from perf_tests.documentation import evidence
from perf_tests.paths import ROOT


def freeze(baselines: Path, places: list[str], sets: Path = evidence.SETS) -> Path:
    """Copy directories or files of ``baselines`` to the same places in a set; returns the set's directory.

    Raises UsageError if there are none, or if boots of one engine are of several releases or several kinds of weights.
    """
    releases: dict[str, set[str]] = {}
    weights: set[str] = set()
    for source in (baselines / place for place in places):
        if not (paths := [source] if source.is_file() else sorted(source.rglob("*.json"))):
            raise UsageError(f"{source}: no baselines there; expected a directory like baselines/h200x1, or a file")
        for path in paths:
            found = baseline.read(path)
            weights.add(found.fingerprint["weights"])
            versions = releases.setdefault(found.fingerprint["engine"], set())
            versions |= {boot.provenance["engine_version"] for cell in found.cells.values() for boot in cell.boots}
    for what, several in {**releases, "weights": weights}.items():
        if len(several) > 1:
            raise UsageError(
                f"{what}: expected one release and one kind of weights, found {', '.join(sorted(several))}"
            )
    # The engine that everything is compared with first.
    engines = sorted(releases, reverse=True)
    name = "-".join([*(f"{engine}-{min(releases[engine])}" for engine in engines), min(weights)])
    for place in places:
        source, target = baselines / place, sets / name / place
        if source.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
        else:
            copied = {path.relative_to(source) for path in source.rglob("*.json")}
            for path in [path for path in target.rglob("*.json") if path.relative_to(target) not in copied]:
                print(f"{path.relative_to(sets)}: kept, which is in no baseline")
            shutil.copytree(source, target, dirs_exist_ok=True)
    return sets / name


@command
def main(arguments: list[str]) -> None:
    """Freeze and say what is to be done next."""
    parser = argparse.ArgumentParser(
        "python -m perf_tests.documentation.freeze",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("places", nargs="+", metavar="PLACE", help="a directory or file in the baselines")
    parser.add_argument("--baselines", type=Path, default=ROOT / "baselines", metavar="DIR", help="default: baselines/")
    args = parser.parse_args(arguments)
    found = freeze(args.baselines, args.places)
    print(
        f"{found.relative_to(ROOT)}: written; if constants are to rest on it, name it in evidence/__init__.py; then run"
    )
    print("python -m perf_tests.documentation.generate")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
