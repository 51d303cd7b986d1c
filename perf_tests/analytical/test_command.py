"""python -m fixtures.analytical: its keys, its text, and its mistakes."""

import json
import re
import shutil
import subprocess
import sys

import pytest

from fixtures.analytical import flops, memory, parameters, serving, step
from fixtures.analytical.__main__ import main
from fixtures.analytical.hardware import hardware
from fixtures.analytical.parallel import Parallel
from fixtures.analytical.precision import precision
from fixtures.analytical.step import Setup
from fixtures.models.location import SHIPPED
from perf_tests.analytical.models import LLAMA_8B, MIXTRAL
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu

KEYS = {
    "total_params",
    "active_params",
    "active_params_no_embedding",
    "weight_bytes",
    "weight_bytes_per_gpu",
    "kv_bytes_per_token",
    "kv_tokens",
    "prefill_seconds",
    "decode_step_seconds",
    "hbm_floor_seconds",
    "latency_seconds",
    "per_token_seconds",
    "throughput_tokens_per_second",
    "communication_bytes_per_token",
}


@pytest.fixture
def command(capsys):
    """Run the command on an option string; returns its standard output."""

    def run(options):
        assert main(options.split()) == 0
        captured = capsys.readouterr()
        assert captured.err == ""
        return captured.out

    return run


@pytest.fixture
def predict(command):
    return lambda options: json.loads(command(options + " --json"))


def test_a_kv_cache_in_fp8_holds_twice_as_much(predict):
    whole, half = (predict(f"--model llama-3.1-8b {option}") for option in ("", "--kv-cache-dtype fp8"))
    assert half["kv_bytes_per_token"] == whole["kv_bytes_per_token"] / 2
    assert half["kv_tokens"] == pytest.approx(2 * whole["kv_tokens"], abs=1)
    assert half["weight_bytes"] == whole["weight_bytes"]
    assert half["hbm_floor_seconds"] < whole["hbm_floor_seconds"]


@pytest.mark.parametrize(("card", "said"), [("b200", True), ("mi300x", True), ("h200", False), ("a100-sxm", False)])
def test_a_card_that_nothing_was_measured_on_is_named_so(command, card, said):
    assert ("nothing was measured on" in command(f"--model llama-3.1-8b --gpu {card}")) == said


@pytest.mark.parametrize(("card", "own"), [("b200", "moe_column_seconds"), ("l40s", "latent_seconds"), ("mi300x", "")])
def test_of_such_a_card_it_says_what_others_published(command, card, own):
    told = next(line for line in command(f"--model llama-3.1-8b --gpu {card}").splitlines() if "nothing was" in line)
    assert ("but for what others published (" in told, own in told) == (bool(own), True)


def test_a_published_configuration_in_its_own_format(predict, tmp_path):
    published = json.loads((ROOT / "perf_tests" / "analytical" / "published.json").read_text())["models"]
    (tmp_path / "config.json").write_text(json.dumps(published["gpt-oss-20b"]["config"]))
    found = predict(f"--model {tmp_path}/config.json --gpu h100")
    assert found["total_params"] == published["gpt-oss-20b"]["total"]
    assert found["weight_bytes"] == 13_761_264_768


def test_mixtral_on_two_cards(predict):
    found = predict("--model mixtral-8x7b --gpu h200 --tp 2 --batch 4 --input-len 32 --output-len 64")
    assert set(found) == KEYS
    assert found["total_params"] == 46702792704
    assert found["active_params"] == 12879925248
    assert found["active_params_no_embedding"] == 12748853248
    assert found["weight_bytes"] == 93405585408
    assert found["weight_bytes_per_gpu"] == (93405585408 + (65 + 32 * 8) * 4096 * 2) / 2
    assert found["kv_bytes_per_token"] == 131072
    assert found["communication_bytes_per_token"] == 524288
    setup = Setup(MIXTRAL, hardware().gpu["h200"], Parallel(2), precision("bf16"))
    host = hardware().host_term("vllm", "h200")
    assert found["prefill_seconds"] == serving.prefill_seconds(setup, host, 4, 32)
    assert found["decode_step_seconds"] == serving.decode_step(setup, host, 4, 64).total
    assert found["hbm_floor_seconds"] == step.hbm_floor(setup, 4, 64)
    assert found["latency_seconds"] == serving.latency_seconds(setup, host, 4, 32, 64)
    assert found["per_token_seconds"] == found["latency_seconds"] / 64
    assert found["throughput_tokens_per_second"] == pytest.approx(4 * 64 / found["latency_seconds"])
    card, reserve = hardware().gpu["h200"].memory_bytes.value, hardware().reserve_bytes.value
    tokens = memory.kv_tokens(MIXTRAL, precision("bf16"), Parallel(2), card, 0.9, reserve)
    assert found["kv_tokens"] == tokens > 0


def test_defaults_are_one_h200_in_bf16_on_the_default_platform(predict):
    explicit = "--gpu h200 --tp 1 --ep 1 --dtype bf16 --batch 1 --input-len 32 --output-len 128"
    explicit += f" --memory-utilization 0.9 --platform {hardware().default_platform}"
    assert predict("--model llama-3.1-8b") == predict(f"--model llama-3.1-8b {explicit}")


@pytest.mark.parametrize(
    ("option", "key"),
    [
        ("--batch 8", "throughput_tokens_per_second"),
        ("--input-len 64", "prefill_seconds"),
        ("--output-len 64", "per_token_seconds"),
        ("--memory-utilization 0.5", "kv_tokens"),
        ("--dtype fp8", "weight_bytes"),
        ("--tp 2", "weight_bytes_per_gpu"),
        ("--ep 2", "communication_bytes_per_token"),
        ("--gpu h100", "hbm_floor_seconds"),
        ("--platform ideal", "decode_step_seconds"),
    ],
)
def test_every_option_counts(predict, option, key):
    assert predict(f"--model mixtral-8x7b {option}")[key] != predict("--model mixtral-8x7b")[key]


def test_the_largest_values_that_are_taken(predict):
    assert predict("--model llama-3.1-8b --batch 999999999")["throughput_tokens_per_second"] > 0
    assert (
        predict("--model llama-3.1-8b --memory-utilization 1")["kv_tokens"]
        > predict("--model llama-3.1-8b")["kv_tokens"]
    )


def test_a_host_is_that_of_the_cards_machine(predict):
    for card in ("h100", "h200"):
        found = predict(f"--model llama-3.1-8b --platform vllm-0.26 --gpu {card}")
        setup = Setup(LLAMA_8B, hardware().gpu[card], Parallel(), precision("bf16"))
        assert found["prefill_seconds"] == serving.prefill_seconds(
            setup, hardware().host_term("vllm-0.26", card), 1, 32
        )


def test_tensor_parallelism_has_a_host_of_its_own(predict):
    for tp in (1, 2):
        found = predict(f"--model llama-3.1-8b --platform vllm-0.33 --tp {tp}")
        setup = Setup(LLAMA_8B, hardware().gpu["h200"], Parallel(tp), precision("bf16"))
        host = hardware().host_term("vllm-0.33", "h200", tp)
        assert found["prefill_seconds"] == serving.prefill_seconds(setup, host, 1, 32)


def test_an_ideal_host_leaves_the_device(predict):
    found = predict("--model llama-3.1-8b --platform ideal --gpu h100 --input-len 10 --output-len 20 --batch 8")
    setup = Setup(LLAMA_8B, hardware().gpu["h100"], Parallel(), precision("bf16"))
    assert found["decode_step_seconds"] == step.decode(setup, 8, 20).device


def test_a_model_is_a_name_or_a_directory_or_a_file(predict, tmp_path, monkeypatch):
    expected = predict("--model mixtral-8x7b")
    mine = tmp_path / "mine"
    mine.mkdir()
    shutil.copy(SHIPPED / "mixtral-8x7b" / "config.json", mine)
    assert predict(f"--model {mine}") == predict(f"--model {mine}/config.json") == expected
    monkeypatch.chdir(tmp_path)
    assert predict("--model mine") == predict("--model mine/config.json") == expected
    monkeypatch.chdir(mine)
    assert predict("--model config.json") == predict("--model .") == expected


def test_a_model_of_ones_own(predict, tmp_path):
    config = json.loads((SHIPPED / "llama-3.1-8b" / "config.json").read_text()) | {"num_hidden_layers": 7}
    (tmp_path / "config.json").write_text(json.dumps(config))
    layer = 4096 * 4096 * 2 + 4096 * 1024 * 2 + 3 * 4096 * 14336 + 2 * 4096
    assert predict(f"--model {tmp_path}")["total_params"] == 7 * layer + 2 * 128256 * 4096 + 4096


def test_the_text_says_what_was_assumed(command):
    text = command("--model mixtral-8x7b --gpu h200 --tp 2 --ep 2")
    assert text.startswith("mixtral-8x7b, NVIDIA H200 SXM 141 GB, TP=2, EP=2, bf16: 1 x (32 in, 128 out)\n")
    assert f"platform vllm (the default): {hardware().platform['vllm'].description}\n" in text
    assert "46.703 B" in text
    assert "12.880 B active, 12.749 B without the embedding lookup" in text
    assert "128 KiB/token" in text
    for term in ("dense", "experts", "attention", "communication", "host"):
        assert f"\n{term} " in text
    assert "platform ideal (given): none: the device alone" in command("--model llama-3.1-8b --platform ideal")
    assert "EP=" not in command("--model llama-3.1-8b")


def test_every_line_of_the_text(command, predict):
    options = (
        "--model mixtral-8x7b --gpu h200 --tp 2 --batch 4 --input-len 32 --output-len 64 --memory-utilization 0.85"
    )
    p = predict(options)
    setup = Setup(MIXTRAL, hardware().gpu["h200"], Parallel(2), precision("bf16"))
    terms = serving.decode_step(setup, hardware().host_term("vllm", "h200"), 4, 64)
    context = 32 + 64 / 2
    floor, step_ms = p["hbm_floor_seconds"] * 1000, p["decode_step_seconds"] * 1000
    expected = [
        ["mixtral-8x7b, NVIDIA H200 SXM 141 GB, TP=2, bf16: 4 x (32 in, 64 out)"],
        [f"platform vllm (the default): {hardware().platform['vllm'].description}"],
        [""],
        ["parameters", "46.703 B", "12.880 B active, 12.749 B without the embedding lookup"],
        ["weights", "93.41 GB", f"{p['weight_bytes_per_gpu'] / 2**30:.2f} GiB per GPU in bf16"],
        ["KV cache", "128 KiB/token", f"holds {p['kv_tokens']:,} tokens at 0.85 of the memory"],
        ["communication", "512 KiB/token", "payload between GPUs"],
        ["compute", f"{flops.per_token(MIXTRAL, context) / 1e9:.2f} GFLOP/token", "at the mean context"],
        ["prefill", f"{p['prefill_seconds'] * 1000:.2f} ms", "4 x 32 tokens"],
        ["decode step", f"{step_ms:.3f} ms", f"{100 * floor / step_ms:.0f}% of it is the HBM floor, {floor:.3f} ms"],
        [
            "latency",
            f"{p['latency_seconds'] * 1000:.1f} ms",
            f"{p['per_token_seconds'] * 1000:.3f} ms per output token",
        ],
        ["throughput", f"{256 / p['latency_seconds']:.0f} tok/s", "output tokens"],
        [""],
        ["share of the decode step"],
    ]
    for name in ("dense", "experts", "attention", "communication", "host"):
        seconds = getattr(terms, name)
        share = seconds / terms.total
        expected.append([name, f"{seconds * 1000:.3f} ms", f"{100 * share:.0f}%", "#" * round(40 * share)])
    text = command(options)
    assert [re.split(r"\s{2,}", line) for line in text.rstrip("\n").split("\n")] == expected
    assert re.search(r"^experts +\d+\.\d+ ms +\d+%  #+$", text, re.MULTILINE), "numbers to the right, bars to the left"


def test_the_json_is_for_people_too(command):
    assert command("--model llama-3.1-8b --json").startswith('{\n  "total_params": 8')


def test_a_quantised_model_is_predicted_in_its_own_precision(predict):
    for method in ("awq", "gptq"):
        model = f"--model mixtral-8x7b-{method}"
        assert predict(model) == predict(f"{model} --dtype {method}") != predict(f"{model} --dtype bf16")


def test_what_fits_exactly_does_not_wait(command, predict):
    tokens = predict("--model llama-3.1-8b")["kv_tokens"]
    options = f"--model llama-3.1-8b --batch 1 --output-len 1 --input-len {tokens - 1}"
    assert "would wait" not in command(options)
    assert f"holds {tokens:,} tokens, fewer than the {tokens + 1:,} of this batch" in command(
        options.replace(str(tokens - 1), str(tokens))
    )


def test_the_text_says_when_the_weights_do_not_fit(command, predict):
    options = "--model mixtral-8x7b --gpu h100"
    assert "none: the weights do not fit 71.7 GiB of each card" in command(options)
    assert predict(options)["kv_tokens"] == 0
    assert "do not fit" not in command(options + " --tp 2")
    assert predict(options + " --tp 2")["kv_tokens"] > 0


def test_the_text_says_when_requests_would_wait(command):
    options = "--model llama-3.1-8b --gpu h100 --input-len 8000 --output-len 1000 --batch"
    assert "fewer than the 900,000 of this batch: requests would wait" in command(f"{options} 100")
    assert "would wait" not in command(f"{options} 1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--model nothing", "--model: unknown model 'nothing'; expected one of gpt-oss-20b, "),
        ("--model llama-3.1-8b --gpu h300", "--gpu: expected one of h100, "),
        ("--model llama-3.1-8b --dtype int4", "--dtype: expected one of bf16, "),
        ("--model llama-3.1-8b --platform tgi", "--platform: expected one of ideal, "),
        ("--model llama-3.1-8b --platform document --gpu a100-sxm", "--platform document: known for h100, "),
        ("--model llama-3.1-8b --tp 3", "--model llama-3.1-8b: 32 attention heads do not divide over tp 3"),
        ("--model llama-3.1-8b --ep 2", "--model llama-3.1-8b: ep 2 needs a model with experts; llama has none"),
        ("--model mixtral-8x7b --tp 2 --ep 3", "--model mixtral-8x7b: of tp 2 and ep 3 one must be a multiple"),
    ],
)
def test_mistakes_are_one_line_and_exit_status_2(capsys, options, message):
    assert main(options.split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: {message}")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("change", [{"model_type": "deepseek_v3"}, {"num_local_experts": 1}, {"vocab_size": None}])
def test_a_configuration_that_is_not_understood_names_its_file(capsys, tmp_path, change):
    config = json.loads((SHIPPED / "mixtral-8x7b" / "config.json").read_text()) | change
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert main(["--model", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'config.json'}: ")
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "the following arguments are required: --model"),
        ("--model x --batch 0", "argument --batch: expected a positive integer, found '0'"),
        ("--model x --batch 1000000000", "argument --batch: expected less than a billion, found '1000000000'"),
        ("--model x --tp 1.5", "argument --tp: expected a positive integer, found '1.5'"),
        ("--model x --ep=-1", "argument --ep: expected a positive integer, found '-1'"),
        ("--model x --output-len many", "argument --output-len: expected a positive integer, found 'many'"),
        ("--model x --memory-utilization 0", "argument --memory-utilization: expected a number above 0 and up to 1"),
        ("--model x --memory-utilization 1.1", "argument --memory-utilization: expected a number above 0 and up to 1"),
        ("--model x --memory-utilization nan", "argument --memory-utilization: expected a number above 0 and up to 1"),
        ("--model x --memory-utilization half", "argument --memory-utilization: expected a number above 0 and up to 1"),
    ],
)
def test_arguments_are_checked(capsys, options, message):
    with pytest.raises(SystemExit) as stopped:
        main(options.split())
    assert stopped.value.code == 2
    assert f"error: {message}" in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", sorted(path.parent.name for path in SHIPPED.glob("*/config.json")))
def test_every_shipped_model_is_understood(predict, name):
    found = predict(f"--model {name} --gpu cpu --dtype fp32")
    assert 0 < found["active_params"] <= found["total_params"]
    assert found["weight_bytes"] == 4 * found["total_params"]
    assert found["hbm_floor_seconds"] < found["decode_step_seconds"]


def test_the_module_runs():
    run = subprocess.run(
        [sys.executable, "-m", "fixtures.analytical", "--model", "llama-3.1-8b", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (run.returncode, run.stderr) == (0, "")
    assert json.loads(run.stdout)["total_params"] == parameters.total(LLAMA_8B)
