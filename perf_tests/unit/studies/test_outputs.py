"""Distances of outputs between servers, whatever they were served by."""

import dataclasses

import pytest

from fixtures.deployments.cell import OUTPUTS
from fixtures.errors import UsageError
from fixtures.outputs.outputs import Outputs
from fixtures.store import baseline, export
from fixtures.studies import outputs
from perf_tests.documentation import evidence

pytestmark = pytest.mark.cpu
TWIN = evidence.SETS / "vllm-0.32.0-random" / "cpu" / "bf16-2"


def shifted(one, by):
    """The same outputs with log-probabilities that are ``by`` nats less."""

    def less(found):
        return tuple(
            dataclasses.replace(
                o, logprobs=tuple(p - by for p in o.logprobs), answer_logprobs=tuple(p - by for p in o.answer_logprobs)
            )
            for o in found
        )

    return Outputs(less(one.short), less(one.long), less(one.together))


@pytest.fixture
def stored():
    return outputs.read([TWIN])


def test_servers_are_told_apart_by_hardware_and_block(stored):
    assert "cpu vllm/mixtral-8x7b-twin/tp1 0.32.0" in stored
    path = TWIN / "vllm-tp1-random" / "mixtral-8x7b-twin.json"
    boots = baseline.read(path).cells["vllm/mixtral-8x7b-twin/tp1/outputs"].boots
    assert len(stored["cpu vllm/mixtral-8x7b-twin/tp1 0.32.0"]) == sum(bool(boot.outputs) for boot in boots)


def test_formats_of_one_model_are_set_side_by_side_and_models_are_not(stored):
    (own,) = list(stored["cpu vllm/mixtral-8x7b-twin/tp1 0.32.0"])[:1]
    llama = stored["cpu vllm/llama-3.1-8b-twin/tp1 0.32.0"][0]
    found = {"H100 vllm/m/tp1": [own], "H100 vllm/m-fp8/tp1": [shifted(own, 0.125)], "H100 vllm/other/tp1": [llama]}
    assert outputs.rows(found) == [
        ["H100 vllm/m/tp1", "H100 vllm/m-fp8/tp1", "1", "0.1250", "0.0%", "0.1250", "0.1250"]
    ]


def test_boots_of_one_server_are_compared_with_each_other(stored):
    (own,) = list(stored["cpu vllm/mixtral-8x7b-twin/tp1 0.32.0"])[:1]
    (row,) = outputs.rows({"a vllm/m/tp1": [own, shifted(own, 0.5), shifted(own, 1.0)]})
    assert row[:4] == ["a vllm/m/tp1", "itself", "3", "0.5000"]


def test_releases_and_the_two_engines_of_a_run_are_told_apart(monkeypatch):
    (one, *_) = [one for one in export.measured(TWIN) if one.sample.outputs]
    newer = dataclasses.replace(one.sample, provenance={"engine_version": "0.33.0"})
    others = (one, dataclasses.replace(one, sample=newer), dataclasses.replace(one, candidate=True))
    monkeypatch.setattr(export, "measured", lambda _: others)
    found = outputs.read([TWIN])
    server = f"cpu {one.cell.rpartition('/')[0]}"
    assert list(found) == [f"{server} 0.32.0", f"{server} 0.33.0", f"{server} 0.32.0 candidate"]
    assert [row[1] for row in outputs.rows(found)] == [f"{server} 0.33.0", *[f"{server} 0.32.0 candidate"] * 2]


def test_prompts_of_another_length_are_not_compared(stored):
    (own,) = list(stored["cpu vllm/mixtral-8x7b-twin/tp1 0.32.0"])[:1]
    other = Outputs(own.long, own.long, own.together)
    assert outputs.rows({"a vllm/m/tp1": [own], "b vllm/m/tp1": [other]}) == []


def test_a_server_that_was_asked_for_more_is_compared_in_what_both_were_asked_for(stored):
    (own,) = list(stored["cpu vllm/mixtral-8x7b-twin/tp1 0.32.0"])[:1]
    assert len(own.short) > OUTPUTS.alone_prompts
    assert len(own.long[0].answer) > OUTPUTS.output_len
    less = shifted(own.first(OUTPUTS.alone_prompts, OUTPUTS.num_prompts, OUTPUTS.output_len), 0.25)
    (row,) = outputs.rows({"a vllm/m/tp1": [own], "b vllm/m/tp1": [less]})
    assert row[3:] == ["0.2500", "0.0%", "0.2500", "0.2500"]


def test_the_command_prints_them_and_says_where_there_are_none(tmp_path, capsys):
    assert outputs.main([str(TWIN)]) == 0
    assert "cpu vllm/mixtral-8x7b-twin/tp1 0.32.0" in capsys.readouterr().out
    assert outputs.main([str(evidence.CURRENT / "h200x1")]) == 2
    assert "no boot there has outputs, which dummy weights have none of" in capsys.readouterr().err
    with pytest.raises(UsageError, match="neither samples.jsonl nor baselines there"):
        outputs.read([tmp_path])
