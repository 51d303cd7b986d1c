"""The data file: every figure has a source and a plausible value, and mistakes in names are reported."""

import dataclasses
import tomllib

import pytest

from fixtures.analytical.hardware import DATA, Figure, Platform, gpu, hardware
from fixtures.analytical.precision import precision
from fixtures.decode import decode
from fixtures.errors import UsageError
from perf_tests.analytical.strategies import EFFICIENCIES, GPUS, host

pytestmark = pytest.mark.cpu

# What follows from the generation of a card rather than from its memory or its link.
BY_GENERATION = (
    *EFFICIENCIES,
    "kernel_seconds",
    "quantise_seconds",
    "moe_seconds",
    "moe_column_seconds",
    "moe_unpack_seconds",
    "moe_unpack_weight_seconds",
    "moe_unpack_scale_seconds",
    "moe_whole_seconds",
    "attention_seconds",
    "attention_sequence_seconds",
    "latent_seconds",
    "all_reduce_seconds",
    "exchange_seconds",
)


def figures(record, path=""):
    """(path, figure) of every figure in ``record``."""
    if isinstance(record, Figure):
        yield path, record
    elif dataclasses.is_dataclass(record):
        for field in dataclasses.fields(record):
            yield from figures(getattr(record, field.name), f"{path}.{field.name}")
    elif isinstance(record, dict):
        for key, value in record.items():
            yield from figures(value, f"{path}.{key}")


def test_every_figure_names_a_source_that_there_is():
    found = [
        (path, figure)
        for path, figure in figures(hardware())
        if not path.endswith((".unstreamed_seconds", ".stall_seconds", ".launch_seconds"))
    ]
    rates = sum(card.fp4_flops is not None for card in hardware().gpu.values())
    assert len(found) == 1 + 31 * len(GPUS) + rates + 4 * sum(
        len(platform.gpu) + len(platform.several) + (platform.every is not None)
        for platform in hardware().platform.values()
    )
    assert {path: f.source for path, f in found if f.source not in hardware().sources} == {}


def test_kinds_fit_their_sources():
    """A datasheet has no kernel efficiencies, and what was taken from another card was not measured."""
    for path, found in figures(hardware()):
        name = path.rpartition(".")[2]
        if found.kind == "datasheet":
            assert name in ("hbm_bandwidth", "link_bandwidth") or name.endswith("_flops"), path
        if found.source in ("alike", "between", "none", "unmeasured"):
            assert found.kind == "assumed", path
        if found.source.endswith("-kernels"):
            assert found.kind == "calibrated", path


@pytest.mark.parametrize("name", GPUS)
def test_figures_of_a_card_are_plausible(name):
    card = gpu(name)
    assert all(figure.value > 0 or figure == card.moe_column_seconds for _, figure in figures(card))
    assert all(getattr(card, key).value <= 1 for key in EFFICIENCIES)
    assert all(getattr(card, key).value < 1e-2 for key in BY_GENERATION if key.endswith("_seconds"))
    assert card.fp32_flops.value < card.bf16_flops.value <= card.fp8_flops.value
    assert (card.flops("bf16"), card.flops("fp8"), card.flops("fp32")) == (
        card.bf16_flops.value,
        card.fp8_flops.value,
        card.fp32_flops.value,
    )
    assert card.memory_bytes.value > hardware().reserve_bytes.value > 0


def test_datasheet_figures():
    assert {name: gpu(name).hbm_bandwidth.value for name in GPUS if name != "cpu"} == {
        "h100": 3.35e12,
        "h100-nvl": 3.938e12,
        "h200": 4.8e12,
        "a100-sxm": 2.039e12,
        "a100-pcie": 1.935e12,
        "b200": 7.7e12,
        "h20": 4e12,
        "l40s": 8.64e11,
        "mi300x": 5.3e12,
    }
    for name, dense, capacity in (("h100", 989.4e12, 80e9), ("h200", 989.4e12, 141e9), ("a100-sxm", 312e12, 80e9)):
        assert gpu(name).bf16_flops.value == pytest.approx(dense)
        assert gpu(name).memory_bytes.value == pytest.approx(capacity, rel=0.08)


@pytest.mark.parametrize(
    ("name", "measured", "source"),
    [
        ("h100-nvl", "h100", "alike"),
        ("a100-pcie", "a100-sxm", "alike"),
        ("h20", "h100", "alike"),
        ("b200", "h100", "unmeasured"),
        ("l40s", "h100", "unmeasured"),
        ("mi300x", "h100", "unmeasured"),
    ],
)
def test_a_card_that_was_not_measured_has_the_constants_of_another_and_says_so(name, measured, source):
    assert (gpu(name).measured, gpu(measured).measured) == (False, True)
    for key in BY_GENERATION:
        taken, original = getattr(gpu(name), key), getattr(gpu(measured), key)
        if taken.source == f"{name}-kernels":  # of latent attention there are published times
            continue
        assert (taken.value, taken.kind) == (original.value, "assumed"), key
        assert taken.source == (original.source if original.source == "unmeasured" else source), key


def test_four_bits_are_unpacked_where_nothing_multiplies_them():
    four, weights_only, eight = (precision(name) for name in ("nvfp4", "awq", "fp8"))
    assert (gpu("h200").flops("fp4"), gpu("b200").flops("fp4")) == (gpu("h200").bf16_flops.value, 9e15)
    assert [gpu("h200").unpacks(form) for form in (four, weights_only, eight)] == [True, True, False]
    assert [gpu("b200").unpacks(form) for form in (four, weights_only, eight)] == [False, True, False]


def test_host_terms_are_not_negative_and_only_the_ideal_one_is_zero():
    for name, platform in hardware().platform.items():
        assert platform.description
        assert platform.every or platform.gpu
        values = [figure.value for _, figure in figures(platform)]
        assert min(values) >= 0
        assert (max(values) == 0) == (name == "ideal")


def test_the_default_platform_is_known_for_every_card():
    for name in GPUS:
        assert hardware().host_term(hardware().default_platform, name).step_seconds.value > 0


def test_a_platform_may_differ_by_card():
    terms = {name: hardware().host_term("document", name).step_seconds.value for name in ("h100", "a100-pcie", "h200")}
    assert len(set(terms.values())) == 3
    assert hardware().host_term("vllm", "h100") == hardware().host_term("vllm", "a100-sxm")


def test_a_cards_own_term_comes_before_that_of_every_card():
    every, own = host(step=1.0), host(step=2.0)
    mine = dataclasses.replace(hardware(), platform={"mine": Platform("mine", every, {"h100": own})})
    assert mine.host_term("mine", "h100") == own
    assert mine.host_term("mine", "h200") == every


def test_unknown_names_list_what_there_is():
    with pytest.raises(UsageError, match="^--gpu: expected one of h100, h100-nvl, h200, .*, found 'h300'$"):
        gpu("h300")
    with pytest.raises(UsageError, match="^--platform: expected one of ideal, vllm, .*, found 'tgi'$"):
        hardware().host_term("tgi", "h100")
    with pytest.raises(UsageError, match="^--platform document: known for h100, a100-pcie, h200, not for a100-sxm$"):
        hardware().host_term("document", "a100-sxm")


def test_the_file_holds_nothing_that_is_not_read():
    raw = tomllib.loads(DATA.read_text())
    assert set(raw["gpu"]) == set(hardware().gpu)
    assert set(raw["platform"]) == set(hardware().platform)
    assert all(hardware().sources.values())


def test_every_source_is_used():
    uncertain = hardware().uncertainty
    stated = [
        uncertain.several_gpus,
        uncertain.unpacking,
        *(one for found in uncertain.platform.values() for one in found.values()),
    ]
    used = {f.source for _, f in figures(hardware())} | {one.source for one in stated}
    assert set(hardware().sources) == used


def test_uncertainties_are_of_platforms_that_there_are():
    known = hardware().uncertainty
    assert set(known.platform) <= set(hardware().platform)
    for found in (*known.platform.values(), {"several": known.several_gpus, "unpacking": known.unpacking}):
        for one in found.values():
            assert 0 <= one.error < 1
            assert one.cells > 0


@pytest.mark.parametrize(
    ("engine", "version", "platform"),
    [
        ("vllm", "0.26.0", "vllm-0.26"),
        ("vllm", "0.26.1.post1", "vllm-0.26"),
        ("sglang", "0.5.17", "sglang-0.5"),
        ("vllm", "0.32.0", "vllm-0.26"),
        ("vllm", "0.33.0", "vllm-0.33"),
        ("vllm", "0.34.1", "vllm-0.33"),
        ("vllm", "1.0.26.0", "vllm-0.33"),
        ("sglang", "0.26.0", "sglang-0.5"),
    ],
)
def test_the_platform_of_a_release_is_the_newest_that_is_no_newer(engine, version, platform):
    assert hardware().platform_of(engine, version) == platform


@pytest.mark.parametrize(
    ("engine", "version"),
    [("vllm", "0.2.6"), ("vllm", ""), ("vllm", "main-4f2"), ("sglang", "0.4.9"), ("other", "1.0")],
)
def test_older_and_unknown_releases_have_the_default_platform(engine, version):
    assert hardware().platform_of(engine, version) == hardware().default_platform == "vllm"


@pytest.mark.parametrize("tp", [1, 2])
def test_host_terms_take_from_their_platform_whether_padding_is_routed(tp):
    """It stands in one place of the file."""
    for name, platform in hardware().platform.items():
        for card in {*platform.gpu, *(GPUS if platform.every else ())}:
            assert hardware().host_term(name, card, tp).routes_padding == platform.routes_padding
    assert DATA.read_text().count("routes_padding") == 1
    assert not hardware().platform["vllm-0.33"].routes_padding


@pytest.mark.parametrize("table", ["every", "gpu.h100", "several.h100"])
def test_a_host_term_of_the_file_has_no_say_in_padding(table):
    """Its platform's would replace it."""
    raw = tomllib.loads(DATA.read_text())["platform"]["vllm-0.26"]
    where, _, card = table.partition(".")
    term = raw["every"] | {"routes_padding": True}
    with pytest.raises(UsageError, match="routes_padding"):
        decode(Platform, raw | {where: {card: term} if card else term}, "hardware.toml")
