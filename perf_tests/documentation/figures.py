"""The figures of the documentation, in ``docs/figures``."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from fixtures.gate.rule import MAX_BOOTS
from fixtures.report.figures import batch_latency, empty_figure, tensor_parallel
from fixtures.studies.gate import power
from perf_tests.paths import ROOT

if TYPE_CHECKING:
    from matplotlib.figure import Figure


DIRECTORY = ROOT / "docs" / "figures"


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


# What takes no time to draw.
FIGURES: dict[str, Callable[[], "Figure"]] = {
    "document-tensor-parallel": tensor_parallel,
    "document-batch-latency": batch_latency,
}
