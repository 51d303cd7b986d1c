"""SGLang: its command lines, its log and its answers."""

import json
import shlex

import pytest

from fixtures.client.target import Target
from fixtures.engines.registry import ENGINES
from fixtures.workloads.workload import Workload
from perf_tests.fakes import fake_engine
from perf_tests.fakes.server_process import mock_server
from perf_tests.fakes.specs import GIB, spec

pytestmark = pytest.mark.cpu
SGLANG = ENGINES["sglang"]


def test_sglang_is_started_on_the_loopback_interface_with_its_kv_budget_in_tokens():
    assert shlex.join(SGLANG.command("python", spec(), 8123)) == (
        "python -m sglang.launch_server --model-path /models/m --served-model-name m-1 --tp-size 1 --dtype bfloat16 "
        "--context-length 4096 --enable-metrics --disable-radix-cache --load-format dummy --skip-tokenizer-init "
        "--max-total-tokens 245760 --host 127.0.0.1 --port 8123"
    )


def test_the_radix_cache_is_off_unless_an_option_says_how_it_is_to_evict():
    on = SGLANG.command("python", spec(options=("--radix-eviction-policy", "lru")), 1)
    assert "--disable-radix-cache" not in on
    assert on[on.index("--radix-eviction-policy") + 1] == "lru"
    assert "--disable-radix-cache" in SGLANG.command("python", spec(options=("--sampling-backend", "pytorch")), 1)


PHASES = [
    *("importing", "starting workers", "loading weights", "weights loaded", "KV cache allocated"),
    *("capturing CUDA graphs", "starting HTTP server", "warming up", "warm"),
]
# As two ranks would say it, in the formats of SGLang 0.5.17's source; below is a real log of one.
SGLANG_LOG = """\
[2026-11-24 02:17:00 TP0] Load weight end. elapsed=12.25 s, type=MixtralForCausalLM, avail mem=50.10 GB, mem usage=43.51 GB.
[2026-11-24 02:17:00 TP1] Load weight end. elapsed=12.75 s, type=MixtralForCausalLM, avail mem=50.10 GB, mem usage=43.50 GB.
[2026-11-24 02:17:01 TP0] Capture target prefill CUDA graph begin. backend=tc_piecewise, num_tokens=[4, 8, 4096], avail mem=9 GB
[2026-11-24 02:17:02 TP0] Capture target prefill CUDA graph end. elapsed=6.50 s, mem usage=0.20 GB, avail mem=8.80 GB.
[2026-11-24 02:17:02 TP0] Capture target decode CUDA graph begin. backend=full, num_tokens_per_req=1, bs=[1, 2, 256], avail
[2026-11-24 02:17:02 TP1] Capture target decode CUDA graph begin. backend=full, num_tokens_per_req=1, bs=[1, 2, 256], avail
[2026-11-24 02:17:03 TP0] Using default MoE kernel config. Performance might be sub-optimal! Config file not found at \
/opt/sglang/srt/layers/moe/moe_runner/triton_utils/configs/triton_3_6_0/E=8,N=7168,device_name=NVIDIA_H200.json, you can
[2026-11-24 02:17:04 TP0] Capture target decode CUDA graph end. elapsed=3.25 s, mem usage=0.20 GB, avail mem=8.80 GB.
[2026-11-24 02:17:04 TP1] Capture target decode CUDA graph end. elapsed=3.50 s, mem usage=0.20 GB, avail mem=8.80 GB.
[2026-11-24 02:17:05 TP0] max_total_num_tokens=245760, chunked_prefill_size=8192, max_prefill_tokens=16384
"""
STATE = {
    "attention_backend": "fa3",
    "moe_runner_backend": "auto",
    "disable_radix_cache": False,
    "chunked_prefill_size": 8192,
    "disable_overlap_schedule": False,
    "disable_custom_all_reduce": True,
}


def test_sglangs_report_comes_from_its_log_and_its_endpoint():
    info = {"version": "0.5.17", "attention_backend": None, "internal_states": [STATE]}
    with mock_server("--server-info", json.dumps(info)) as url:
        report = SGLANG.report(spec(), SGLANG_LOG, url)
    assert report.version == "0.5.17"
    assert report.weight_bytes == 43.51 * GIB
    assert report.kv_tokens == 245760
    assert (report.load_seconds, report.capture_seconds) == (12.75, 10.0)
    assert report.execution == {
        "attention": "fa3",
        "MoE kernel": "auto",
        "MoE tables": "default, none is there: triton_3_6_0/E=8,N=7168,device_name=NVIDIA_H200.json",
        "CUDA graphs": "prefill tc_piecewise, 3 sizes up to 4096; decode full, 3 sizes up to 256",
        "CUDA graph mode": "prefill tc_piecewise; decode full",
        "prefix cache": "radix",
        "prefill chunk": "8192 tokens",
        "async scheduling": "enabled",
        "custom all-reduce": "off",
    }


@pytest.mark.parametrize("info", ["", "[]", '{"internal_states": 7}', '{"internal_states": [null]}', "{"])
def test_without_the_endpoint_the_log_is_worth_having(info):
    with mock_server("--server-info", info) as url:
        report = SGLANG.report(spec(), SGLANG_LOG, url)
    assert (report.version, report.kv_tokens) == (None, 245760)
    assert "attention" not in report.execution
    assert "E=8,N=7168" in report.execution["MoE tables"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("Using MoE kernel config from /a/configs/triton_3_5_1/E=8,N=1.json.", "tuned: triton_3_5_1/E=8,N=1.json"),
        (
            "Config file not found at /a/configs/triton_3_6_0/E=8,N=1.json. Fallback to triton version 3.5.1 and use MoE "
            "kernel config from /a/configs/triton_3_5_1/E=8,N=1.json. Performance might be sub-optimal!",
            "of another Triton: triton_3_5_1/E=8,N=1.json",
        ),
    ],
)
def test_sglangs_tables(line, expected):
    assert SGLANG.report(spec(), line, "http://127.0.0.1:9").execution["MoE tables"] == expected


def test_the_phases_of_sglangs_boot_are_seen_in_order():
    log = [*fake_engine.SGLANG_LOG.format(model="m", tokens=1, port=1).splitlines(), "The server is fired up and ready"]
    assert [phase for line in log if (phase := SGLANG.phase(line, "0.5.23"))] == PHASES


@pytest.mark.parametrize(
    ("release", "mark", "missed"),
    [
        ("0.5.20", "Init torch distributed begin", []),
        ("0.5.20", "Init parallel begin", ["starting workers"]),
        ("0.5.21", "Init torch distributed begin", ["starting workers"]),
        ("0.5.21", "Init parallel begin", []),
    ],
)
def test_workers_start_under_the_mark_that_the_release_has(release, mark, missed):
    log = fake_engine.SGLANG_LOG.replace("Init parallel begin", mark)
    assert SGLANG.releases.unmarked(release, log, {"card", "captured"}) == missed


# From 0.5.22 on decode tells its sizes where its capture ends.
DECODE_ENDS = """\
[2026-11-24 02:17:01 TP0] Capture target prefill CUDA graph begin. backend=breakable, num_tokens=[4, 8192], avail mem=9 GB
[2026-11-24 02:17:02 TP0] Capture target prefill CUDA graph end. elapsed=6.50 s, mem usage=0.20 GB, avail mem=8.80 GB.
[2026-11-24 02:17:02 TP0] Capture target decode CUDA graph begin. backend=full, num_tokens_per_req=1, avail mem=8.80 GB
[2026-11-24 02:17:02 TP1] Capture target decode CUDA graph begin. backend=full, num_tokens_per_req=1, avail mem=8.80 GB
[2026-11-24 02:17:04 TP0] Capture target decode CUDA graph end. bs=[1, 2, 256], elapsed=3.25 s, mem usage=0.20 GB
[2026-11-24 02:17:04 TP1] Capture target decode CUDA graph end. bs=[1, 2, 256], elapsed=3.50 s, mem usage=0.20 GB
"""


def test_sizes_that_are_told_where_a_capture_ends():
    report = SGLANG.report(spec(release="0.5.22"), DECODE_ENDS, "http://127.0.0.1:9")
    assert report.capture_seconds == 10.0
    assert report.execution["CUDA graphs"] == "prefill breakable, 2 sizes up to 8192; decode full, 3 sizes up to 256"
    assert SGLANG.untold("0.5.22", DECODE_ENDS) == []


@pytest.mark.parametrize(
    ("release", "log", "untold"),
    [
        # As it went unseen: 0.5.21 had no time after its sizes.
        ("0.5.21", DECODE_ENDS, ["capture_time of target decode"]),
        ("0.5.22", DECODE_ENDS.replace("bs=[1, 2, 256], ", ""), ["the sizes of CUDA graphs of decode"]),
        (
            "0.5.22",
            DECODE_ENDS.replace("bs=[1, 2, 256], elapsed", "took"),
            ["capture_time of target decode", "the sizes of CUDA graphs of decode"],
        ),
        # No time at all is one thing, and named as one.
        ("0.5.22", DECODE_ENDS.replace("elapsed", "took"), []),
    ],
)
def test_a_capture_of_which_the_log_says_less_than_of_others_is_named(release, log, untold):
    assert SGLANG.untold(release, log) == untold
    report = SGLANG.report(spec(release=release), log, "http://127.0.0.1:9")
    (missing,) = [text for text in SGLANG.remarks(spec(release=release), log, report) if "does not tell" in text]
    assert ("capture_time," in missing) == (report.capture_seconds is None)
    assert all(text in missing for text in untold)


def test_capture_times_are_missed_unless_an_option_is_about_graphs():
    assert SGLANG.conditions(spec(), "") == {"card", "captured"}
    assert SGLANG.conditions(spec(options=("--disable-cuda-graph",)), "") == {"card"}


def test_its_benchmark_is_the_module_that_is_not_deprecated(tmp_path):
    workload = Workload("offline-4", "offline", num_prompts=4, input_len=8, output_len=8)
    line = SGLANG.benchmark("python", Target("http://127.0.0.1:1", "m"), "/t", workload, 1, tmp_path / "r")
    assert line[1:3] == ["-m", "sglang.benchmark.serving"]


def test_sglangs_profiler_answers_in_plain_text(tmp_path):
    with mock_server("--profile-directory", str(tmp_path), "--profile-says", "Start profiling.\n") as url:
        SGLANG.start_profile(url)
        SGLANG.stop_profile(url)
    assert (tmp_path / "trace.json").exists()
