"""Cards that fail, are shared, cut up or throttled, as NVML's library shows them."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest

from fixtures.hardware.energy import WITHIN
from perf_tests.documentation.faults import fault
from perf_tests.fakes import fake_engine
from perf_tests.fakes.deployments import FAKE, workload
from perf_tests.fakes.server_process import server_log
from perf_tests.fakes.shared_object import GIB, Cards, compiled
from perf_tests.fakes.suite import Suite
from perf_tests.fakes.waiting import wait_until
from perf_tests.paths import ROOT

# batch-4 asks for more tokens than its warm-up does, so that the server's log tells them apart.
REPETITION_TOKENS = 24
ON_A_CARD = FAKE.replace('hardware = "cpu"', 'hardware = "H200"').replace("repetitions = 3", "repetitions = 2")
HEAD, BATCH_4, TAIL = ON_A_CARD.partition('name = "batch-4"')
ON_A_CARD = HEAD + BATCH_4 + TAIL.replace("output_len = 8", f"output_len = {REPETITION_TOKENS}")
# Slow enough that something can happen to a card in the middle of a cell.
SLOW = "--gap 0.03"
ONE_BOOT = ("--max-boots=1",)


@pytest.fixture(scope="session")
def library(tmp_path_factory):
    return compiled("fake_nvml.c", tmp_path_factory.mktemp("nvml") / "libnvidia-ml.so.1")


@pytest.fixture
def cards(suite, library, tmp_path, monkeypatch):
    """The suite's machine has a card; no process and no lock may be left on it."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    cards = Cards(library, tmp_path / "nvml")
    suite.deployment.write_text(ON_A_CARD)
    suite.variables |= cards.variables
    yield cards
    wait_until(lambda: not cards.locks())


def usage_error(suite, message):
    done = suite.run()
    assert done.status == 4, done.text
    assert message in done.text
    assert "Traceback" not in done.text
    assert not fake_engine.boots(suite.engine)


def meanwhile(suite, change):
    """Run the suite; ``change`` happens while batch-4, the last cell, is measured."""
    suite.boots_with(SLOW)
    process = suite.start(*ONE_BOOT)
    suite.await_samples(2)
    url = f"http://127.0.0.1:{fake_engine.boots(suite.engine)[0]['port']}"
    wait_until(lambda: any(entry["tokens"] == REPETITION_TOKENS for entry in server_log(url)))
    change()
    return suite.wait(process)


@fault("Card", "a healthy one", "measured", "everything")
def test_a_healthy_card(suite, cards):
    done = suite.run()
    assert done.status == 0, done.text
    assert set(suite.verdicts().values()) == {"no baseline"}


def metered(suite, cards, *options, **values):
    """The idle power that a run told, the sample of its cell of energy, and the run."""
    own = ON_A_CARD.replace("gated = [", 'gated = ["energy_per_token", ')
    suite.deployment.write_text(own + workload("energy", "energy", batch_size=2, max_seconds=4))
    cards.show(watts=120, **values)
    done = suite.run(*options)
    lines = map(json.loads, (suite.artifacts / "samples.jsonl").read_text().splitlines())
    samples = {line["cell"].rpartition("/")[2]: line for line in lines}
    return samples["startup"]["metrics"].get("idle_power"), samples["energy"], done


def test_energy_is_told_kept_as_a_baseline_and_played_back(suite, cards):
    idle, sample, done = metered(suite, cards, "--update-baselines", energy_step_ms=10)
    assert done.status == 0, done.text
    assert (idle, sample["invalid"]) == (120, "")
    assert sample["metrics"]["mean_power"] == pytest.approx(120, rel=WITHIN)
    played = suite.replay(suite.baselines, str(suite.deployment))
    assert played.status == 0, played.text
    assert re.search(r"energy_per_token +[\d.]+ J ", played.text)


@fault(
    "Card",
    "its counter of energy moves too seldom for a cell, or not at all",
    "that energy is absent, and a cell of energy *invalid*; idle power is told",
    "everything else",
)
@pytest.mark.parametrize(
    ("step", "why"),
    [(1000, "are known within"), (10**9, "a card does not tell it, or its counter stands still")],
)
def test_the_counter_of_energy_moves_too_seldom(suite, cards, step, why):
    idle, sample, done = metered(suite, cards, energy_step_ms=step)
    assert done.status == 0, done.text
    assert idle == 120
    assert why in sample["invalid"]
    assert sample["metrics"] == {}
    assert suite.verdicts()["energy energy_per_token"] == "invalid"
    assert sample["invalid"] in (suite.artifacts / "report.md").read_text()


@fault("Card", "no NVML, or no driver", "a usage error: the deployment's cards and how many there are", "-")
@pytest.mark.parametrize("error", [9, 12])
def test_no_nvml(suite, cards, error):
    cards.show(init=error)
    usage_error(suite, "deployment 'fake' needs 1 x H200, this machine has 0")


@fault("Card", "NVML cannot start: the driver was replaced", "a usage error with NVML's own words", "-")
def test_the_driver_was_replaced(suite, cards):
    cards.show(init=18)
    usage_error(suite, "NVML cannot list the GPUs: RM has detected an NVML/RM version mismatch")


@fault("Card", "MIG mode", "a usage error: a slice is not compared with a card", "-")
def test_mig(suite, cards):
    cards.show(mig=1)
    usage_error(suite, "this machine has 0 besides those in MIG mode (GPU 0; `nvidia-smi -mig 0` makes them whole)")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        pytest.param(
            999,
            "Unknown Error",
            marks=fault(
                "Card", "NVML errors midway", "the cell fails, inconclusive, NVML's words named", "cells before it"
            ),
        ),
        pytest.param(
            15,
            "GPU is lost",
            marks=fault("Card", "falls off the bus", "the cell fails, inconclusive, the card named", "cells before it"),
        ),
    ],
)
def test_nvml_fails_midway(suite, cards, error, words):
    done = meanwhile(suite, lambda: cards.show(error=error))
    assert done.status == 1
    assert f"/batch-4: NVML cannot read GPU 0: {words}; see what nvidia-smi and the kernel's log say of it" in done.text
    assert "Traceback" not in done.text
    assert set(suite.samples()) == {"startup", "batch-1"}
    assert suite.verdicts()["batch-4 latency"] == "inconclusive"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda cards: cards.add_process(os.getpid()),
            "GPU 0 is in use by 1 other process(es): stop them",
            marks=fault("Card", "a foreign process before the boot", "invalid, card and remedy named", "samples"),
        ),
        pytest.param(
            lambda cards: cards.show(used=40 * GIB),
            "GPU 0 has 40.0 GiB in use before the boot: free it",
            marks=fault("Card", "memory that nobody owns before the boot", "invalid, card and amount named", "samples"),
        ),
    ],
)
def test_a_card_in_use(suite, cards, change, message):
    change(cards)
    done = suite.run("--update-baselines")
    assert done.status == 0, done.text
    assert set(suite.verdicts().values()) == {"invalid"}
    assert "every boot is invalid" in done.text
    assert not list(suite.baselines.rglob("*.json")), "what is invalid is no baseline"
    assert message in (suite.artifacts / "samples.jsonl").read_text()


@fault(
    "Card", "memory that stays after the server's end", "said, card and amount named; as above at the next boot", "all"
)
def test_memory_that_stays(suite, cards):
    done = meanwhile(suite, lambda: cards.show(used=40 * GIB))
    assert done.status == 0, done.text
    assert "20 s after the server's end there is still in use: GPU 0 40.0 GiB" in done.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda cards: cards.add_process(os.getpid()),
            "another process came onto the card during the run",
            marks=fault("Card", "a foreign process midway", "the cell is invalid", "cells before it are judged"),
        ),
        pytest.param(
            lambda cards: cards.show(reasons=0x40),
            "GPU 0: HW thermal slowdown at the end of the run: check its cooling",
            marks=fault("Card", "throttled by heat", "the cell is invalid, cause named", "cells before it are judged"),
        ),
        pytest.param(
            lambda cards: cards.show(thermal_ns=5 * 10**9),
            "GPU 0: held down by its temperature for 5.00 s of",
            marks=fault("Card", "was throttled midway", "the cell is invalid, for how long named", "cells before it"),
        ),
        pytest.param(
            lambda cards: cards.show(ecc=1),
            "GPU 0: uncorrected ECC errors during the run: have the card checked",
            marks=fault("Card", "uncorrected memory errors", "the cell is invalid, cause named", "cells before it"),
        ),
    ],
)
def test_something_happens_to_the_card(suite, cards, change, message):
    done = meanwhile(suite, lambda: change(cards))
    assert done.status == 0, done.text
    *before, batch_4 = (suite.artifacts / "samples.jsonl").read_text().splitlines()
    assert message in batch_4
    assert message not in "".join(before)
    assert {suite.verdicts()[f"batch-4 {name}"] for name in ("latency", "completed")} == {"invalid"}


@fault("Card", "throttled by its power limit", "judged: every card under load is", "everything")
def test_the_power_limit_is_no_fault(suite, cards):
    cards.show(reasons=0x4)
    assert suite.run().status == 0
    assert set(suite.verdicts().values()) == {"no baseline"}


@pytest.fixture
def second(suite, cards, tmp_path):
    """Another suite on the same machine."""
    (tmp_path / "second").mkdir()
    second = Suite(tmp_path / "second")
    second.deployment.write_text(ON_A_CARD)
    second.variables |= cards.variables
    yield second
    second.assert_nothing_left()


@fault("Card", "two suites at once on one card", "the second: a usage error that says who has it; the first goes on")
def test_two_suites_on_one_card(suite, second, cards):
    suite.boots_with(SLOW)
    process = suite.start()
    suite.await_samples(1)
    usage_error(second, f"GPU 0 is held by process {process.pid}, since ")
    assert suite.wait(process).status == 0
    assert set(suite.verdicts().values()) == {"no baseline"}
    assert second.run(*ONE_BOOT).status == 0


@fault("Card", "the suite that had the card was killed", "its lock went with it", "-")
def test_a_dead_suites_lock(suite, second, cards):
    suite.boots_with(SLOW)
    process = suite.start()
    suite.await_samples(1)
    process.send_signal(signal.SIGKILL)
    suite.wait(process)
    suite.assert_nothing_left()
    assert len(cards.locks()) == 1
    assert second.run(*ONE_BOOT).status == 0


@fault("Card", "two suites at once, a card for each", "each has its own", "everything")
def test_two_suites_on_two_cards(suite, second, cards):
    cards.show(count=2)
    suite.boots_with(SLOW)
    process = suite.start(*ONE_BOOT)
    suite.await_samples(1)
    assert second.run(*ONE_BOOT).status == 0
    assert suite.wait(process).status == 0
    assert [boot["cards"] for engine in (suite.engine, second.engine) for boot in fake_engine.boots(engine)] == [
        "0",
        "1",
    ]


CHOOSE = """
import os
import sys
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.hardware import choice
for line in sys.stdin:
    os.environ.pop("CUDA_VISIBLE_DEVICES", None)
    if line.strip() != "-":
        os.environ["CUDA_VISIBLE_DEVICES"] = line.strip()
    try:
        print(choice.choose(ENGINES).name, flush=True)
    except UsageError as error:
        print(error, flush=True)
"""


@pytest.fixture(scope="module")
def choose(library, tmp_path_factory):
    """The deployment that is taken without an option, or the error, beside cards that NVML shows thus."""
    cards = Cards(library, tmp_path_factory.mktemp("choice") / "nvml")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    process = subprocess.Popen([sys.executable, "-c", CHOOSE], cwd=ROOT, env=os.environ | cards.variables, **pipes)

    keys = (
        "init",
        "mig",
        "mig_of_1",
        "mig_of_2",
        "untold_memory",
        "untold_processes",
        "untold_memory_of_1",
        "untold_ecc",
    )

    def chosen(visible="-", **values):
        cards.show(**dict.fromkeys(keys, 0) | {"count": 1} | values)
        process.stdin.write(f"{visible.replace('ID', str(cards.id))}\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    yield chosen
    process.communicate()


@pytest.mark.parametrize(
    ("values", "chosen"),
    [
        ({"count": 1}, "h200x1"),
        ({"count": 2}, "h200x2"),
        ({"count": 3}, "h200x2"),
        ({"init": 9}, "cpu"),
        ({"count": 3, "mig_of_1": 1, "mig_of_2": 1}, "h200x1"),
        ({"count": 2, "untold_memory_of_1": 4}, "h200x1"),
        ({"count": 2, "untold_ecc": 3}, "h200x2"),
        ({"count": 2, "visible": "1"}, "h200x1"),
        ({"count": 2, "visible": "1,0"}, "h200x2"),
        ({"count": 2, "visible": "GPU-fake-ID-1"}, "h200x1"),
        ({"count": 2, "visible": ""}, "cpu"),
    ],
)
@pytest.mark.cpu
def test_the_deployment_is_that_of_the_cards(choose, values, chosen):
    assert choose(**values) == chosen


@fault("Card", "none that a shipped deployment is for", "a usage error: what there is, and what to copy", quick=True)
def test_cards_of_no_deployment(choose):
    message = "no shipped deployment is for 1 x NVIDIA H200 besides those in MIG mode (GPU 0; `nvidia-smi -mig 0`"
    assert message in choose(mig=1)


@fault(
    "Card",
    "doesn't tell its memory or processes (GB10, vGPU)",
    "a usage error: the card, what it doesn't tell",
    quick=True,
)
@pytest.mark.parametrize(
    ("what", "code", "words"), [("memory", 3, "Not Supported"), ("processes", 4, "Insufficient Perm")]
)
def test_a_card_that_does_not_tell(choose, what, code, words):
    message = choose(**{f"untold_{what}": code})
    assert f"no shipped deployment is for 1 x NVIDIA H200; GPU 0 does not tell its {what} ({words}" in message


@fault("Card", "another one in `CUDA_VISIBLE_DEVICES`", "that one is measured on", "everything")
def test_the_card_that_is_given(suite, cards):
    cards.show(count=2)
    suite.variables["CUDA_VISIBLE_DEVICES"] = f"GPU-fake-{cards.id}-1"
    done = suite.run()
    assert done.status == 0, done.text
    assert {boot["cards"] for boot in fake_engine.boots(suite.engine)} == {"1"}


@fault("Card", "none, or a MIG slice, in `CUDA_VISIBLE_DEVICES`", "a usage error: the variable and what it gives", "-")
@pytest.mark.parametrize("given", ["", "MIG-fake/1/0"])
def test_no_card_is_given(suite, cards, given):
    suite.variables["CUDA_VISIBLE_DEVICES"] = given
    usage_error(suite, f"this machine has 0; CUDA_VISIBLE_DEVICES={given!r} gives 0 of 1")


@fault(
    "Card",
    "doesn't tell its ECC errors or slowdowns",
    "measured; what it doesn't tell is in the provenance",
    "everything",
)
def test_what_a_card_may_keep_to_itself(suite, cards):
    cards.show(untold_ecc=3, untold_reasons=3)
    done = suite.run()
    assert done.status == 0, done.text
    lines = (suite.artifacts / "samples.jsonl").read_text().splitlines()
    (untold,) = {json.loads(line)["provenance"]["untold"] for line in lines}
    assert untold.startswith("GPU 0: ECC errors, slowdowns")
    environments = [json.loads(line)["provenance"]["environment"] for line in lines]
    assert {variables["CUDA_VISIBLE_DEVICES"] for variables in environments} == {"0"}
