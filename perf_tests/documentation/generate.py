"""Everything of the repository that is generated: constants, the ledger's numbers, tables, printed screens, figures.

    python -m perf_tests.documentation.generate [FILE ...]     writes what is stale
    ... --check                                                names what is stale, exits with 1 if anything is

All of it rests on the evidence and on the code, and on nothing in ``baselines/`` but the source document's tables. Simulations
that take minutes are run again when the code of the gate, or of its simulation, has changed.
"""

import argparse
import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path

from fixtures.claims.ledger import LEDGER
from fixtures.command import command
from fixtures.errors import UsageError
from fixtures.report.figures import svg
from fixtures.store.files import write_atomically
from perf_tests.documentation import (
    constants,
    demo_recording,
    faults,
    figures,
    forms,
    golden,
    ledger_numbers,
    metrics_page,
    screens,
    simulations,
    tables,
)
from perf_tests.paths import GOLDEN, ROOT


@dataclasses.dataclass(frozen=True)
class Part:
    """A file that is generated, or has generated places: ``filled`` makes of its text what it should be."""

    path: Path
    filled: Callable[[str], str]

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))

    def text(self) -> str:
        """The file; empty if it isn't there."""
        return self.path.read_text(encoding="utf-8") if self.path.exists() else ""

    def stale(self) -> bool:
        """Whether the file isn't what it should be."""
        return self.filled(text := self.text()) != text

    def write(self) -> bool:
        """Make the file what it should be; returns whether it wasn't."""
        if (new := self.filled(text := self.text())) == text:
            return False
        write_atomically(self.path, new)
        return True


# Data that the code reads; in this order, as the second follows from the first.
DATA = (
    Part(constants.PAGE, constants.filled),
    Part(LEDGER, ledger_numbers.filled),
    *(
        Part(demo_recording.DIRECTORY / f"{model}.json", lambda _, model=model: demo_recording.text(model))
        for model in demo_recording.MODELS
    ),
)
PAGES = (
    *(Part(page, tables.filled) for page in tables.PAGES),
    Part(metrics_page.PAGE, metrics_page.filled),
    Part(forms.PAGE, forms.filled),
    Part(faults.PAGE, lambda _: faults.page()),
    *(
        Part(figures.DIRECTORY / f"{name}.svg", lambda _, draw=draw: svg(draw()))
        for name, draw in figures.FIGURES.items()
    ),
)
# What tests of their own hold to what is printed.
TEXTS = (
    *(Part(GOLDEN / name, lambda _, text=text: text()) for name, text in golden.TEXTS.items()),
    Part(screens.PAGE, screens.filled),
    Part(screens.README, screens.demonstrated),
)
NAMES = {part.name for part in (*DATA, *PAGES, *TEXTS)} | simulations.PLACES


@command
def main(arguments: list[str]) -> int:
    """Write what is stale, or name it; returns the exit status."""
    parser = argparse.ArgumentParser(
        "python -m perf_tests.documentation.generate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="of these alone, by their paths in the repository")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 if anything is stale")
    args = parser.parse_args(arguments)
    if unknown := set(args.files) - NAMES:
        raise UsageError(f"nothing is generated in {', '.join(sorted(unknown))}; known are {', '.join(sorted(NAMES))}")
    parts = [part for part in (*DATA, *PAGES, *TEXTS) if not args.files or part.name in args.files]
    simulated = not args.files or simulations.PLACES & set(args.files)
    if args.check:
        found = [f"{part.name}: stale" for part in parts if part.stale()] + (simulations.stale() if simulated else [])
        print("\n".join([*found, "run python -m perf_tests.documentation.generate"] if found else ["nothing is stale"]))
        return bool(found)
    for part in parts:
        if part.write():
            print(f"{part.name}: written", flush=True)
            if part in DATA:
                # This process has read the old numbers.
                os.execv(sys.executable, [sys.executable, "-m", "perf_tests.documentation.generate", *arguments])
    if simulated and (found := simulations.stale()):
        print("\n".join([*found, "running the simulations, which takes minutes"]), flush=True)
        print("\n".join(f"{name}: written" for name in simulations.write()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
