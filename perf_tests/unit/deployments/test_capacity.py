"""What cannot fit is refused with the arithmetic, before anything boots."""

import dataclasses
import json

import pytest

from fixtures.analytical.hardware import hardware
from fixtures.analytical.precision import PRECISIONS
from fixtures.deployments import capacity
from fixtures.deployments import deployment as deployments
from fixtures.deployments.cell import Block, cells
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.models.model import Model
from fixtures.prediction.prediction import predictions
from perf_tests.fakes import deployments as deployments_of_tests
from perf_tests.fakes.deployments import head, workload
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu

H100, H200 = ("NVIDIA H100 80GB HBM3", 81559 * 2**20), ("NVIDIA H200", 143771 * 2**20)


def blocks(deployment):
    return dict.fromkeys(cell.block for cell in cells(deployment))


@pytest.mark.parametrize(("name", "card"), [("h100x1", H100), ("h200x1", H200), ("h100x2", H100), ("h200x2", H200)])
def test_shipped_deployments_fit_their_cards(name, card):
    deployment = deployments.load(name, ENGINES)
    capacity.check(deployment, blocks(deployment), *card)


def test_mixtral_in_bf16_is_refused_on_one_h100_with_the_arithmetic():
    deployment = deployments.load("h200x1", ENGINES)
    expected = r"87.0 GiB of bf16 weights per card and 30 GiB of KV cache do not fit the 79.6 GiB of NVIDIA H100 80GB"
    with pytest.raises(UsageError, match=expected) as caught:
        capacity.check(deployment, [Block("vllm", "mixtral-8x7b", 1)], *H100)
    assert "quantised" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_two_servers_on_a_card_need_room_for_both():
    """Llama on an H200, whose committed boots take 52 GiB at most; Mixtral's take 122."""
    chosen = deployments.load("h200x1", ENGINES)
    capacity.check_side_by_side(chosen, [Block("vllm", "llama-3.1-8b", 1)], H200[0], 139 * 2**30)
    with pytest.raises(UsageError) as caught:
        capacity.check_side_by_side(chosen, [Block("vllm", "mixtral-8x7b", 1)], H200[0], 139 * 2**30)
    assert str(caught.value) == (
        "--side-by-side: vllm/mixtral-8x7b/tp1: two servers, each with 87.0 GiB of weights, 30 GiB of KV cache and 8 GiB "
        "beside them, do not fit the 139.0 GiB of NVIDIA H200: leave out --side-by-side, or choose --cells"
    )
    unknown = dataclasses.replace(chosen, kv_cache_gib=0)
    with pytest.raises(UsageError, match="what a server of it takes of a card isn't known: leave out --side-by-side"):
        capacity.check_side_by_side(unknown, [Block("vllm", "llama-3.1-8b", 1)], H200[0], 139 * 2**30)


def test_cards_are_known_by_the_names_they_report():
    assert [hardware().gpu_named(name) for name in (H100[0], H200[0], "NVIDIA T4", "")] == ["h100", "h200", None, None]


CARD = {"hardware": "H100", "kv_cache_gib": 16}


def deployment_of(directory, model="llama-3.1-8b", engine="vllm", entry="", **fields):
    text = head([model], engines=[engine], **CARD | fields).rstrip("\n") + f"\n{entry}\n"
    return deployments_of_tests.load(directory, text + workload("one", "batch", batch_size=1))


def configured(directory, **changes):
    """A directory with Llama's configuration, changed."""
    config = Model.load("llama-3.1-8b", "test").config | changes
    (directory / "model").mkdir(exist_ok=True)
    (directory / "model" / "config.json").write_text(json.dumps(config))
    return "./model"


def test_without_a_precision_the_files_counts(tmp_path):
    deployment = deployment_of(tmp_path, "mixtral-8x7b-awq")
    (block,) = blocks(deployment)
    assert capacity.precision_of(deployment, block) == PRECISIONS["awq"]
    capacity.check(deployment, [block], *H100)


def test_a_precision_that_the_file_contradicts_is_refused(tmp_path):
    with pytest.raises(
        UsageError, match="precision: 'fp8' of 'mixtral-8x7b-awq', whose config.json says awq: leave it out"
    ):
        deployment_of(tmp_path, "mixtral-8x7b-awq", entry='precision = "fp8"')
    deployment_of(tmp_path, "mixtral-8x7b-awq", entry='precision = "awq"')


def test_what_is_not_understood_is_measured_without_an_expectation_and_named_by_a_prediction(tmp_path):
    deployment = deployment_of(tmp_path, configured(tmp_path, quantization_config={"quant_method": "exl2"}))
    (block,) = blocks(deployment)
    assert capacity.precision_of(deployment, block) is None
    capacity.check(deployment, [block], "small", 1)
    assert capacity.kv_cache_tokens(deployment, block) == 131_072
    with pytest.raises(
        UsageError, match=r"config.json: quantization_config.quant_method: expected one of awq, .*'exl2'"
    ):
        predictions(deployment)


def test_weights_that_the_engine_quantises_need_a_precision(tmp_path):
    options = {"engine_options": {"vllm": ["--quantization", "fp8"]}}
    deployment = deployment_of(tmp_path, **options)
    (block,) = blocks(deployment)
    assert capacity.precision_of(deployment, block) is None
    with pytest.raises(UsageError, match="engine_options has --quantization: name the precision too"):
        predictions(deployment)
    named = deployment_of(tmp_path, entry='precision = "fp8"', **options)
    assert capacity.precision_of(named, block) == PRECISIONS["fp8"]


@pytest.mark.parametrize(
    ("engine", "options", "tokens"),
    [
        ("vllm", [], 131_072),
        ("vllm", ["--kv-cache-dtype", "auto"], 131_072),
        ("vllm", ["--kv-cache-dtype", "fp8"], 262_144),
        ("vllm", ["--kv-cache-dtype=fp8_e5m2"], 262_144),
        ("sglang", ["--kv-cache-dtype", "fp8_e4m3"], 262_144),
        ("sglang", ["--kv-cache-dtype", "fp8_e4m3", "--kv-cache-dtype", "bfloat16"], 131_072),
        ("vllm", ["--kv-cache-dtype", "nvfp4"], 0),
    ],
)
def test_a_budget_in_tokens_heeds_the_caches_format(tmp_path, engine, options, tokens):
    deployment = deployment_of(tmp_path, engine=engine, engine_options={engine: options})
    (block,) = blocks(deployment)
    assert capacity.kv_cache_tokens(deployment, block) == tokens
    if tokens:
        assert capacity.precision_of(deployment, block).kv_bytes == 2 * 131_072 / tokens


def test_an_unknown_format_of_the_cache_is_refused_where_the_budget_is_in_tokens(tmp_path):
    deployment = deployment_of(tmp_path, engine="sglang", engine_options={"sglang": ["--kv-cache-dtype", "fp4_e2m1"]})
    with pytest.raises(UsageError, match="sglang: --kv-cache-dtype: expected one of bfloat16, .*, found 'fp4_e2m1'"):
        capacity.kv_cache_tokens(deployment, *blocks(deployment))


def test_the_files_format_of_the_cache_is_the_same_for_both_engines(tmp_path):
    modelopt = {"quant_method": "modelopt", "quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}
    for engine in ("vllm", "sglang"):
        deployment = deployment_of(tmp_path, configured(tmp_path, quantization_config=modelopt), engine)
        assert capacity.kv_cache_tokens(deployment, *blocks(deployment)) == 262_144


def test_a_scheme_that_not_all_engines_heed_must_be_named(tmp_path):
    weights = {"num_bits": 8, "type": "float", "strategy": "channel"}
    scheme = {
        "quant_method": "compressed-tensors",
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": weights}},
        "kv_cache_scheme": {"num_bits": 8, "type": "float"},
    }
    model = configured(tmp_path, quantization_config=scheme)
    deployment = deployment_of(tmp_path, model)
    assert capacity.kv_cache_tokens(deployment, *blocks(deployment)) == 262_144
    deployment = deployment_of(tmp_path, model, "sglang")
    with pytest.raises(UsageError, match="sglang: --kv-cache-dtype: name a format: .*has a kv_cache_scheme"):
        capacity.kv_cache_tokens(deployment, *blocks(deployment))
    deployment = deployment_of(tmp_path, model, "sglang", engine_options={"sglang": ["--kv-cache-dtype=fp8_e4m3"]})
    assert capacity.kv_cache_tokens(deployment, *blocks(deployment)) == 262_144


@pytest.mark.parametrize(
    ("engine", "option"),
    [("vllm", "--kv-cache-memory-bytes=1"), ("vllm", "--num-gpu-blocks-override"), ("sglang", "--max-total-tokens")],
)
def test_options_that_override_the_budget_are_refused(tmp_path, engine, option):
    with pytest.raises(
        UsageError, match=f"engine_options.{engine}: {option.split('=')[0]} would override kv_cache_gib"
    ):
        deployment_of(tmp_path, engine=engine, engine_options={engine: [option, "9"]})
    deployment_of(tmp_path, engine=engine, engine_options={engine: [option, "9"]}, kv_cache_gib=0)


def test_cards_are_not_a_deployments_to_choose(tmp_path):
    with pytest.raises(UsageError, match="environment.CUDA_VISIBLE_DEVICES: which cards servers get is not"):
        deployment_of(tmp_path, environment={"CUDA_VISIBLE_DEVICES": "1"})


@pytest.mark.parametrize(("length", "tokens"), [(4096, 436052), (131072, 775960)])
def test_windows_count_as_vllm_reports_them(tmp_path, length, tokens):
    """gpt-oss-20b in 20 GiB: with short requests its windows save nothing, and cost a block of each."""
    published = json.loads((ROOT / "perf_tests" / "analytical" / "published.json").read_text())["models"]["gpt-oss-20b"]
    assert published["kv"]["tp1"][:2] == [436052, 775960]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(published["config"]))
    entry, budget = 'configuration = "./model"', {"kv_cache_gib": 20, "max_model_len": length}
    for engine, expected in (("vllm", tokens), ("sglang", 20 * 2**30 // (24 * 2 * 8 * 64 * 2))):
        found = deployment_of(tmp_path, "oss", engine, entry, **budget)
        assert capacity.kv_cache_tokens(found, *blocks(found)) == expected


def test_a_cache_that_is_shared_out_in_a_way_of_its_own_is_measured_and_not_predicted(tmp_path):
    published = json.loads((ROOT / "perf_tests" / "analytical" / "published.json").read_text())["models"]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(published["DeepSeek-V4-Flash"]["config"]))
    found = deployment_of(tmp_path, "v4", "vllm", 'configuration = "./model"', kv_cache_gib=20)
    assert [capacity.kv_cache_tokens(found, block) for block in blocks(found)] == [0]
    with pytest.raises(
        UsageError, match="^v4: compress_ratios: how engines share a cache of such layers out is not known"
    ):
        predictions(dataclasses.replace(found, hardware="H200"))
