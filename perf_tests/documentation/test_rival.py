"""aiconfigurator's predictions beside the model's: of the same batches, by one release, and who is nearer."""

import csv
import statistics
from collections import defaultdict

import pytest

from perf_tests.documentation import rival

pytestmark = pytest.mark.cpu


def test_every_batch_was_asked_for_and_nothing_else():
    with rival.FILE.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    asked = {batch.key for batch in rival.batches()}
    assert {tuple(row[name] for name in rival._FIELDS) for row in rows} == asked
    assert {row["distribution"] for row in rows} == {"power_law", "balanced"}
    assert {row["source"] for row in rows} == {"aiconfigurator 0.12.0, its data of vllm 0.24.0"}
    # It has no data for AWQ and GPTQ, and for everything else it has.
    assert {row["format"] for row in rows if not row["latency"]} == {"awq", "gptq"}


def test_a_dense_model_has_no_load_of_experts_and_a_mixture_has():
    for key, found in rival.theirs().items():
        even = found["balanced"] == pytest.approx(found["power_law"], rel=1e-6)
        assert even == key[0].startswith("llama"), key


def test_the_model_is_nearer_on_every_family_but_one():
    *families, every = rival.rows()
    farther = [row[0] for row in families if float(row[-1]) < 1]
    assert farther == ["Mixtral-8x7B, four cards, a copy of the attention on each, whole experts, vLLM 0.33"]
    assert (
        sum(int(row[1]) for row in families)
        == int(every[1])
        == len([b for b in rival.batches() if b.key in rival.theirs()])
    )


def _held_back() -> dict[str, list[tuple[float, float, float]]]:
    """By model, errors of batches that nothing was fitted to: its own with a skewed and an even load, ours. Without fp8, which
    it has far from any step.
    """
    errors = defaultdict(list)
    for batch in rival.batches():
        if not batch.fitted and batch.key[2] != "fp8" and (found := rival.theirs().get(batch.key)):
            times = (found["power_law"], found["balanced"], batch.ours)
            errors[batch.key[0]].append(tuple(abs(seconds / batch.measured - 1) for seconds in times))
    return errors


def test_it_is_nearer_on_batches_that_nothing_was_fitted_to():
    errors = [one for found in _held_back().values() for one in found]
    theirs, _, ours = (statistics.mean(column) for column in zip(*errors, strict=True))
    print(f"n={len(errors)}: aiconfigurator {theirs:.1%}, the model {ours:.1%}")
    assert theirs > 2 * ours


@pytest.mark.parametrize("model", rival._NAMES)
def test_it_is_nearer_on_every_model(model):
    skewed, even, ours = (statistics.mean(column) for column in zip(*_held_back()[model], strict=True))
    print(f"{model}: aiconfigurator {skewed:.1%}, with an even load {even:.1%}, the model {ours:.1%}")
    assert ours < min(skewed, even)
