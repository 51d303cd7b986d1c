"""What the client is held against: which cells, the benchmarks' command lines, their tokenizer, the table."""

import dataclasses
import json
import re
import sys

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.client.target import Target
from fixtures.comparison.agreement import agreements
from fixtures.deployments import cell as cell_module
from fixtures.deployments import deployment
from fixtures.engines import benchmark as benchmark_module
from fixtures.engines.benchmark import benchmark
from fixtures.engines.engine import BootSpec
from fixtures.engines.environment import Environment
from fixtures.engines.registry import ENGINES
from fixtures.errors import EngineError, EngineHung, UsageError
from fixtures.studies import cross_check
from fixtures.workloads.tokenizer import encoder, words
from fixtures.workloads.workload import Workload
from perf_tests.fakes.deployments import head, load, workload
from perf_tests.tools import bench_cross_check

pytestmark = pytest.mark.cpu
ONLINE = Workload("online-8", "online", rate=8, num_prompts=100, input_len=75, output_len=128)
SERVER = Target("http://127.0.0.1:8123", "m-1")
BENCHMARKS = list(ENGINES)


def options(line):
    """The command line's options and their values, True for one without."""
    found = {}
    for i, text in enumerate(line):
        if text.startswith("--"):
            found[text] = True if line[i + 1 : i + 2] == [] or line[i + 1].startswith("--") else line[i + 1]
    return found


@pytest.mark.parametrize("engine", BENCHMARKS)
def test_a_benchmark_is_given_the_same_traffic(engine, tmp_path):
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
def test_both_clients_report_the_same_metrics(engine):
    assert list(ENGINES[engine].benchmark_medians) == ["ttft_p50", "tpot_p50", "itl_p50", "e2e_p50"]


@pytest.mark.parametrize(("engine", "option"), [("vllm", "--tokenizer"), ("sglang", "--tokenizer-path")])
def test_the_server_gets_the_tokenizer_and_keeps_it(engine, option):
    spec = BootSpec("/models/m", "m-1", "dummy", "cuda", 1, "bfloat16", 4096, 0, (), tokenizer="/t")
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
    return encoder(directory, 500)


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


def test_cells_have_requests_enough_for_the_benchmarks_warm_up_and_a_pace(tmp_path):
    sizes = [(31, 8), (32, 8), (32, 2), (32, 1)]
    workloads = (workload(f"{n} {tokens}", "batch", batch_size=n, output_len=tokens) for n, tokens in sizes)
    chosen = load(tmp_path, head() + "".join(workloads))
    assert [cell.workload.name for cell in cross_check.selected(chosen, [])] == ["32 8", "32 2"]
    with pytest.raises(UsageError, match="of at least 32 requests and 2 output tokens that are streamed"):
        cross_check.selected(chosen, ["*/31 8", "*/32 1"])


def test_clients_take_turns_in_an_order_that_changes():
    assert [cross_check.order(i, False) for i in range(3)] == [
        ["ours", "theirs"],
        ["theirs", "ours"],
        ["ours", "theirs"],
    ]
    assert [cross_check.order(i, True) for i in range(2)] == [["ours", "theirs", "again"], ["theirs", "again", "ours"]]


def test_no_cell_and_no_round_has_another_s_seed():
    cells = {
        cell.id: cell for name in deployment.shipped() for cell in cell_module.cells(deployment.load(name, ENGINES))
    }
    seeds = [cross_check.seed(cell, i) for cell in cells.values() for i in range(20)]
    assert len(set(seeds)) == len(seeds) > 2000
    assert all(0 <= seed < 2**31 for seed in seeds)


def test_the_table_has_medians_of_every_client_and_the_change_of_ours():
    pace = {"ours": 0.005, "theirs": 0.005, "again": 0.006}
    first = {"ours": (0.010, 0.012, 0.011), "theirs": (0.020, 0.024, 0.022), "again": (0.030, 0.030, 0.030)}
    rounds = [{name: {"ttft_p50": first[name][i], "tpot_p50": pace[name]} for name in pace} for i in range(3)]
    # In the order of the first round.
    rounds[1] = dict(reversed(rounds[1].items()))

    def lines(rounds):
        ours, theirs = (
            {metric: [one[name][metric] for one in rounds] for metric in ("ttft_p50", "tpot_p50")}
            for name in ("ours", "theirs")
        )
        return [
            re.split(r" {2,}", line.strip())
            for line in cross_check.table(rounds, agreements(ours, theirs)).splitlines()
        ]

    head, _, first_token, tpot = lines(rounds)
    assert head == ["median", "ours", "theirs", "again", "change, 95% interval"]
    assert first_token == ["ttft_p50", "11 ms", "22 ms", "30 ms", "-50.0% (-50.0 to -50.0)", "differ"]
    assert tpot == ["tpot_p50", "5 ms", "5 ms", "6 ms", "+0.0% (+0.0 to +0.0)", "agree"]
    assert lines(rounds[:1])[2] == ["ttft_p50", "10 ms", "20 ms", "30 ms", "-50.0%", "can't tell"]


def test_results_of_another_run_are_not_added_to(tmp_path, capsys):
    (tmp_path / "vllm-batch-32.json").write_text("{}")
    options = ["--deployment=cpu", "--cells=*/batch-32", f"--artifacts={tmp_path}", f"--engine-env=vllm={tmp_path}"]
    assert cross_check.main(options) == 2
    assert capsys.readouterr().err == f"error: {tmp_path}: results of another run are there: give other --artifacts\n"


@pytest.mark.parametrize("main", [cross_check.main, bench_cross_check.main])
def test_there_is_a_round(main, tmp_path, capsys):
    options = ["--rounds", "0", "--engine-env", f"vllm={tmp_path}"]
    if main is cross_check.main:
        options += ["--deployment=cpu", "--cells=*"]
    with pytest.raises(SystemExit, match="2"):
        main(options)
    assert "--rounds must be positive" in capsys.readouterr().err


class Wrote(type(ENGINES["vllm"])):
    """An engine whose benchmark writes a text, or takes its time."""

    def __init__(self, text):
        self.text = text

    def benchmark(self, python, server, tokenizer, workload, seed, result):
        script = f"import pathlib; pathlib.Path({str(result)!r}).write_text({self.text!r})"
        hang = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
        return [sys.executable, "-c", script if self.text else hang]


class Ended:
    """Stands for the process of a benchmark that Wrote, without one: what is asked is what its result is worth."""

    def __init__(self, line, variables, log):
        exec(line[-1], {})

    def wait(self, seconds):
        pass

    def exit_status(self):
        return 0

    def stop(self):
        pass


# Of 100 requests of 75 + 128 tokens.
REPORTED = {
    "completed": 100,
    "total_input_tokens": 7500,
    "total_output_tokens": 12800,
    "median_ttft_ms": 20.0,
    "median_tpot_ms": 5,
    "median_itl_ms": 5.5,
    "median_e2el_ms": 655.0,
}


def reported(text, tmp_path, seconds=60.0):
    result = tmp_path / "result.json"
    return benchmark(Wrote(text), Environment(tmp_path), SERVER, "/t", ONLINE, 1, result, seconds)


@pytest.mark.parametrize("left_out", ["", "total_input_tokens"])
def test_a_benchmark_s_medians_are_read_from_its_last_line_in_seconds(tmp_path, left_out):
    # A few tokens more than asked for: of text that a tokenizer made of tokens.
    line = json.dumps(
        {key: value for key, value in (REPORTED | {"total_input_tokens": 7560}).items() if key != left_out}
    )
    assert reported(f"an older run\n{line}\n", tmp_path) == {
        "ttft_p50": 0.02,
        "tpot_p50": 0.005,
        "itl_p50": 0.0055,
        "e2e_p50": 0.655,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\n", "its last line is no JSON object"),
        ('{"comp', "its last line is no JSON object"),
        ("[1]", "its last line is no JSON object"),
        (json.dumps(REPORTED | {"completed": 99}), "completed is 99, 100 were asked for"),
        (json.dumps(REPORTED | {"total_output_tokens": 12799}), "total_output_tokens is 12799, 12800 were asked for"),
        (json.dumps(REPORTED | {"total_input_tokens": 0}), "total_input_tokens is 0, 7500 were asked for"),
        (json.dumps(REPORTED | {"total_input_tokens": 7300}), "total_input_tokens is 7300, 7500 were asked for"),
        (
            json.dumps({k: v for k, v in REPORTED.items() if k != "total_output_tokens"}),
            "total_output_tokens is None, 12800",
        ),
        (json.dumps({k: v for k, v in REPORTED.items() if k != "median_itl_ms"}), "median_itl_ms is None, not a time"),
        (json.dumps(REPORTED | {"median_itl_ms": float("nan")}), "median_itl_ms is nan, not a time"),
        (json.dumps(REPORTED | {"median_e2el_ms": 0.0}), "median_e2el_ms is 0.0, not a time"),
        (json.dumps(REPORTED | {"median_ttft_ms": float("inf")}), "median_ttft_ms is inf, not a time"),
        (json.dumps(REPORTED | {"median_tpot_ms": "5"}), "median_tpot_ms is 5, not a time"),
    ],
)
def test_a_benchmark_s_result_that_cannot_be_is_an_error_of_one_line(text, message, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_module, "ServerProcess", Ended)
    with pytest.raises(EngineError) as found:
        reported(text, tmp_path)
    assert str(found.value).startswith(f"vllm's own benchmark: {tmp_path / 'result.json'}: {message}")
    assert "\n" not in str(found.value)


def test_a_benchmark_without_an_end_is_ended_and_its_server_taken_for_hung(tmp_path):
    with pytest.raises(EngineHung, match="vllm's own benchmark: no end within 1 s"):
        reported("", tmp_path, 1.0)
    assert not psutil.pid_exists(int((tmp_path / "result.log").read_text().splitlines()[0]))


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
    reported = {"ttft_p50": 0.053, "tpot_p50": 0.0051, "e2e_p50": 0.064, "itl_p50": 0.005}
    line = bench_cross_check.row(workload, "ours", [{"received": 0.0, "written": [9.0]}, *log], reported)
    assert line.split()[-6:] == ["53.000", "+3.000", "5.100", "+0.100", "64.000", "+4.000"]
    with pytest.raises(EngineError, match="ours: the server's log hasn't the 2 requests of 'online-8'"):
        bench_cross_check.row(workload, "ours", log[:1], reported)
