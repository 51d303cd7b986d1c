"""What the client is held against: which cells, the benchmarks' command lines, their tokenizer, the table."""

import dataclasses
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures import cross_check
from fixtures.client.load import Target
from fixtures.deployments import deployment
from fixtures.engines.engine import BootSpec
from fixtures.engines.registry import ENGINES, EXTERNAL
from fixtures.errors import EngineError, UsageError
from fixtures.gate.agreement import agreements
from fixtures.workloads.tokenizer import encoder, words
from fixtures.workloads.workload import Workload
from perf_tests.harness import bench_cross_check

pytestmark = pytest.mark.cpu
ONLINE = Workload("online-8", "online", rate=8, num_prompts=100, input_len=75, output_len=128)
SERVER = Target("http://127.0.0.1:8123", "m-1")
BENCHMARKS = [name for name in ENGINES if name != EXTERNAL]


def options(line):
    """The command line's options and their values, True for one without."""
    found = {}
    for i, text in enumerate(line):
        if text.startswith("--"):
            found[text] = True if line[i + 1 : i + 2] == [] or line[i + 1].startswith("--") else line[i + 1]
    return found


@pytest.mark.parametrize("engine", BENCHMARKS)
def test_a_benchmark_is_told_the_same_traffic(engine, tmp_path):
    line = ENGINES[engine].benchmark("python", SERVER, "/t", ONLINE, 7, tmp_path / "r.json")
    found = options(line)
    assert line[0] == "python"
    assert found["--base-url"] == SERVER.url
    assert (found["--model"], found["--tokenizer"], found["--seed"]) == ("m-1", "/t", "7")
    assert (found["--num-prompts"], found["--request-rate"]) == ("100", "8")
    assert (found["--random-input-len"], found["--random-output-len"]) == ("75", "128")
    at_once = dataclasses.replace(ONLINE, kind="offline", rate=0)
    assert (
        options(ENGINES[engine].benchmark("python", SERVER, "/t", at_once, 7, tmp_path / "r"))["--request-rate"]
        == "inf"
    )


@pytest.mark.parametrize("engine", BENCHMARKS)
def test_both_clients_tell_the_same_metrics(engine):
    assert list(ENGINES[engine].benchmark_medians) == ["ttft_p50", "tpot_p50", "itl_p50", "e2e_p50"]


@pytest.mark.parametrize(("engine", "option"), [("vllm", "--tokenizer"), ("sglang", "--tokenizer-path")])
def test_the_server_gets_the_tokenizer_and_keeps_it(engine, option):
    spec = BootSpec("/models/m", "m-1", True, "cuda", 1, "bfloat16", 4096, 0, (), tokenizer="/t")
    command = ENGINES[engine].command("python", spec, 1)
    assert command[command.index(option) + 1] == "/t"
    assert "--skip-tokenizer-init" not in command
    without = ENGINES[engine].command("python", dataclasses.replace(spec, tokenizer=""), 1)
    assert option not in without
    assert "--skip-tokenizer-init" in without


@pytest.fixture(scope="module")
def encode(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tokenizer")
    for name, text in words(500).items():
        (directory / name).write_text(text)
    return encoder(str(directory))


@given(st.lists(st.integers(0, 499), min_size=1, max_size=50))
def test_a_word_stands_for_each_id_and_nothing_is_added(encode, ids):
    assert encode(" ".join(f"t{i}" for i in ids)) == ids


def test_cells_are_checked_streamed_and_of_fixed_lengths():
    chosen = deployment.load("h200x1", ENGINES)
    cells = cross_check.selected(chosen, ["*/llama-3.1-8b/*"])
    names = {cell.workload.name for cell in cells}
    assert {"batch-32", "online-8", "online-70pct"} <= names
    assert not names & {"startup", "shared-prefix", "offline-100", "routing"}, (
        "those that a benchmark doesn't send alike"
    )
    assert {cell.workload.lengths for cell in cells} == {"fixed"}
    with pytest.raises(UsageError, match=r"--cells: no traffic that the engines' benchmarks send"):
        cross_check.selected(chosen, ["*/startup", "*/shared-prefix"])


def test_the_table_has_medians_of_every_client_and_the_change_of_ours():
    found = {
        "ours": {"ttft_p50": [0.010, 0.012, 0.011], "tpot_p50": [0.005, 0.005, 0.005]},
        "theirs": {"ttft_p50": [0.020, 0.024, 0.022], "tpot_p50": [0.005, 0.005, 0.005]},
        "again": {"ttft_p50": [0.030, 0.030, 0.030], "tpot_p50": [0.006, 0.006, 0.006]},
    }
    head, _, first, second = cross_check.table(agreements(found["ours"], found["theirs"]), found).splitlines()
    assert head.split()[:4] == ["median", "ours", "theirs", "again"]
    assert re.split(r" {2,}", first) == ["ttft_p50", "11 ms", "22 ms", "30 ms", "-50.0% (-50.0 to -50.0)", "differ"]
    assert re.split(r" {2,}", second) == ["tpot_p50", "5 ms", "5 ms", "6 ms", "+0.0% (+0.0 to +0.0)", "agree"]
    once = {client: {"ttft_p50": values["ttft_p50"][:1]} for client, values in found.items()}
    assert re.split(r" {2,}", cross_check.table(agreements(once["ours"], once["theirs"]), once).splitlines()[-1])[-2:] == [
        "-50.0%", "can't tell",
    ]  # fmt: skip


def test_an_engine_without_a_benchmark_says_so(tmp_path):
    class Other(type(ENGINES["vllm"])):
        name = "other"
        benchmark = type(ENGINES["vllm"]).__mro__[1].benchmark

    with pytest.raises(EngineError, match="other has no benchmark of its own that is known here"):
        Other().benchmark("python", SERVER, "/t", ONLINE, 1, tmp_path / "r")


def test_a_row_beside_the_server_s_log():
    """Of a server that wrote the first token after 50 ms and one every 5 ms from then on, warm-up before it."""
    workload = dataclasses.replace(ONLINE, num_prompts=2, output_len=3)
    log = [{"received": t, "written": [t + 0.05, t + 0.055, t + 0.06]} for t in (1.0, 2.0)]
    told = {"ttft_p50": 0.053, "tpot_p50": 0.0051, "e2e_p50": 0.064, "itl_p50": 0.005}
    line = bench_cross_check.row(workload, "ours", [{"received": 0.0, "written": [9.0]}, *log], told)
    assert line.split()[-6:] == ["53.000", "+3.000", "5.100", "+0.100", "64.000", "+4.000"]
    with pytest.raises(EngineError, match="ours: the server's log hasn't the 2 requests of 'online-8'"):
        bench_cross_check.row(workload, "ours", log[:1], told)
