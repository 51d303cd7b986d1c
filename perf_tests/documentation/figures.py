"""The figures of the documentation, written as SVG.

python -m perf_tests.documentation.figures DIRECTORY [NAME ...]
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fixtures.command import command
from fixtures.gate.sequential import MAX_BOOTS
from fixtures.report.figures import batch_latency, empty_figure, svg, tensor_parallel
from fixtures.store.files import write_atomically
from fixtures.studies.gate import power

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def trade_off() -> "Figure":
    """False alarms against power, as the gate's rule gets stricter and takes more boots. Simulates for a minute."""
    choices = power.trade_off((0.02,))
    figure, axes = empty_figure(
        "40 metrics a night, CV between boots 2%, tolerance 2.5%, 10 boots in the baseline",
        "nights with a false alarm [%]",
        "5% regressions found [%]",
    )
    colours = ("#56B4E9", "#009E73", "#0072B2", "#D55E00")
    for colour, boots in zip(colours, sorted({c.max_boots for c in choices}), strict=True):
        line = [c for c in choices if c.max_boots == boots]
        calm = next(c.boots for c in line if c.strictness == 1)
        axes.plot(
            [100 * c.alarms_per_night for c in line],
            [100 * c.power for c in line],
            "o-",
            color=colour,
            markersize=4,
            label=f"up to {boots} boots ({calm:.1f} on a night without a change)",
        )
    used = next(c for c in choices if c.max_boots == MAX_BOOTS and c.strictness == 1)
    axes.plot(
        100 * used.alarms_per_night,
        100 * used.power,
        "o",
        markersize=11,
        fillstyle="none",
        color="black",
        linestyle="none",
        label="what the gate uses",
    )
    axes.axvline(1, color="#999999", linewidth=0.8, linestyle="dashed")
    axes.set_xscale("symlog", linthresh=0.1)
    axes.set_xlim(-0.01, 10)
    axes.set_xticks([0, 0.1, 1, 10], ["0", "0.1", "1", "10"])
    axes.set_ylim(0, 102)
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    return figure


FIGURES: dict[str, Callable[[], "Figure"]] = {
    "document-tensor-parallel": tensor_parallel,
    "document-batch-latency": batch_latency,
    "gate-trade-off": trade_off,
}


@command
def main(arguments: list[str]) -> None:
    """Write figures into a directory."""
    parser = argparse.ArgumentParser("python -m perf_tests.documentation.figures", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument(
        "names", nargs="*", choices=[*FIGURES, []], metavar="NAME", help=f"default: {', '.join(FIGURES)}"
    )
    args = parser.parse_args(arguments)
    for name in args.names or FIGURES:
        path = args.directory / f"{name}.svg"
        write_atomically(path, svg(FIGURES[name]()))
        print(path)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
