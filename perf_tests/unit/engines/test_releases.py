"""Tables of what differs between releases: which entries count for which release, and what is said of one that is not known."""

import pytest

from fixtures.engines import releases
from fixtures.engines.engine import Report
from fixtures.engines.environment import Environment
from fixtures.engines.registry import ENGINES
from fixtures.engines.releases import Choice, Deprecated, Phase, Releases, Seen, Setting, Value
from fixtures.errors import UsageError
from perf_tests.fakes.specs import spec

pytestmark = pytest.mark.cpu
TABLE = Releases(
    name="Engine",
    distributions=("engine", "engine-cpu"),
    seen=(
        Seen(release="1.0", torch="2.0", where="card", what="everything"),
        Seen(release="1.2", torch="2.1", where="cpu", what="a boot"),
    ),
    value=(
        Value(tells="load_time", pattern=r"took ([\d.]+) s", before="1.2", when=("card",)),
        Value(tells="load_time", pattern=r"loaded in ([\d.]+) s", since="1.2", when=("card",)),
        Value(tells="kv_capacity", pattern=r"(\d+) tokens"),
        Value(tells="compile_time", pattern=r"compiled in (\d+) s", optional=True),
    ),
    phase=(
        Phase(mark="load begin", phase="loading", before="1.1"),
        Phase(mark="begins to load", phase="loading", since="1.1"),
        Phase(mark="ready", phase="ready", when=("card",)),
    ),
    choice=(
        Choice(name="kernel", pattern=r"kernel (\w+)"),
        Choice(name="made", pattern=r"made \w+", text="{} made", count=True),
        Choice(name="scheduling", pattern=r"scheduling is (\w+)", last=True),
    ),
    setting=(Setting(name="module", value="old", before="1.1"), Setting(name="module", value="new", since="1.1")),
    deprecated=(Deprecated(option=("--quantization", "fp8"), instead="use another", since="1.1"),),
)


@pytest.mark.parametrize(
    ("release", "treated", "module"),
    [
        ("1.0", "1.0", "old"),
        ("1.0.7", "1.0.7", "old"),
        ("0.3", "1.0", "old"),
        ("1.1", "1.1", "new"),
        ("1.1rc2", "1.1", "new"),
        ("1.0.post1", "1.0", "old"),
        ("1.2+cpu", "1.2", "new"),
        ("1.2.dev3+gabc", "1.2", "new"),
        ("7.0", "1.2", "new"),
        ("", "1.2", "new"),
        ("main", "1.2", "new"),
    ],
)
def test_an_unknown_release_is_treated_as_the_nearest_that_is_known(release, treated, module):
    assert str(TABLE.treated(release)) == treated
    assert TABLE.value_of("module", release) == module


@pytest.mark.parametrize(
    ("release", "where", "remark"),
    [
        ("1.0", "card", ""),
        ("1.2", "cpu", ""),
        ("1.2+cpu", "cpu", ""),
        ("1.0", "cpu", "Engine 1.0 has been seen with this suite on a card only"),
        ("1.2", "card", "Engine 1.2 has been seen with this suite on a processor only"),
        ("1.1", "card", "Engine 1.1 has not been seen with this suite"),
        ("1.3", "card", "Engine 1.3 has not been seen with this suite; treated as 1.2"),
        ("0.9", "cpu", "Engine 0.9 has not been seen with this suite; treated as 1.0"),
        ("", "card", "Engine's release can't be read in its environment; treated as 1.2"),
    ],
)
def test_a_release_that_nobody_has_seen_is_remarked(release, where, remark):
    assert TABLE.remark(release, where) == remark


def test_a_value_counts_in_its_releases_only():
    log = "took 1.5 s\nloaded in 2.5 s\ntook 3.5 s\n"
    assert TABLE.told("load_time", "1.1", log) == ["1.5", "3.5"]
    assert TABLE.told("load_time", "1.2", log) == ["2.5"]
    assert TABLE.told("kv_capacity", "1.2", log) == []


def test_what_is_expected_depends_on_the_boot():
    assert TABLE.expected("1.1", {"card"}) == ["load_time", "kv_capacity"]
    assert TABLE.expected("1.1", set()) == ["kv_capacity"]
    assert TABLE.unmarked("1.0", "begins to load", {"card"}) == ["loading", "ready"]
    assert TABLE.unmarked("1.1", "begins to load", set()) == []
    assert TABLE.phase_of("it begins to load", "1.1") == "loading"
    assert TABLE.phase_of("it begins to load", "1.0") == ""


def test_choices_are_named_once_or_counted_or_as_they_were_last():
    log = "kernel a\nkernel b\nkernel a\nmade x, made y, made x\nscheduling is on\nscheduling is off\n"
    assert TABLE.choices("1.0", log) == {"kernel": "a; b", "made": "2 made", "scheduling": "off"}
    assert TABLE.choices("1.0", "") == {}


@pytest.mark.parametrize(
    "options", [("--quantization", "fp8"), ("--quantization=fp8",), ("-x", "--quantization", "fp8")]
)
def test_an_option_on_the_way_out_is_named_and_left_alone(options):
    assert list(TABLE.deprecations("1.1", options)) == ["Engine 1.1 calls --quantization fp8 deprecated: use another"]
    assert not list(TABLE.deprecations("1.0", options))
    assert not list(TABLE.deprecations("1.1", ("--quantization", "awq", "fp8")))


def test_a_setting_that_a_release_does_not_have_is_none_or_an_error():
    assert TABLE.setting_of("flag", "1.0") is None
    with pytest.raises(KeyError, match="Engine 1.0: flag"):
        TABLE.value_of("flag", "1.0")


MINIMAL = """
name = "E"
distributions = ["e"]
seen = [{ release = "1.0", torch = "2.0", where = "card", what = "a boot" }]
value = [{ tells = "kv_capacity", pattern = '(\\d+)' }]
phase = [{ mark = "m", phase = "p" }]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("seen = [{ release", "seen = [{ releases", r"seen\[0\]: unknown key 'releases'; did you mean 'release'\?"),
        (
            'seen = [{ release = "1.0", torch = "2.0", where = "card", what = "a boot" }]',
            "seen = []",
            "seen: no release",
        ),
        ('"1.0"', '"the newest"', "Invalid version: 'the newest'"),
        ('where = "card"', 'where = "cards"', "expected one of 'card', 'cpu', found 'cards'"),
        ("'(\\d+)'", "'(\\d+'", "missing \\), unterminated subpattern"),
        ("'(\\d+)'", "'\\d+'", "expected one group, found 0"),
        ('phase = "p"', 'phase = "p", since = "1.2", before = "1.2"', "ends before it begins"),
    ],
)
def test_a_table_that_is_wrong_is_refused_in_one_line(tmp_path, old, new, message):
    path = tmp_path / "e.toml"
    path.write_text(MINIMAL)
    assert releases.load(path).name == "E"
    path.write_text(MINIMAL.replace(old, new))
    with pytest.raises(UsageError, match=message) as caught:
        releases.load(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


REQUIRED = {"vllm": {"server module", "module of select_experts"}, "sglang": {"benchmark module"}}


@pytest.mark.parametrize("engine", REQUIRED)
def test_ranges_of_one_setting_neither_overlap_nor_leave_a_gap(engine):
    table = ENGINES[engine].releases
    for release in table.known:
        for name in {one.name for one in table.setting}:
            found = sum(one.name == name and one.holds(release) for one in table.setting)
            assert found == 1 if name in REQUIRED[engine] else found <= 1, (name, release)


@pytest.mark.parametrize("engine", REQUIRED)
def test_what_a_table_tells_is_what_a_report_has(engine):
    tells = {one.tells for one in ENGINES[engine].releases.value}
    assert tells <= set(Report().told)
    assert {"weight_memory", "kv_capacity", "load_time", "capture_time"} <= tells


def test_the_release_is_read_where_the_package_is_installed(tmp_path):
    environment = Environment(tmp_path)
    assert environment.version(TABLE.distributions) == ""
    (tmp_path / "engine_other-9.dist-info").mkdir()
    assert environment.version(TABLE.distributions) == ""
    site = tmp_path / "lib" / "python3.12" / "site-packages"
    (site / "engine_cpu-1.2.0+x.dist-info").mkdir(parents=True)
    assert environment.version(TABLE.distributions) == "1.2.0+x"
    (tmp_path / "engine-1.0.dist-info").mkdir()
    assert environment.version(TABLE.distributions) == "1.0", "its own name comes first"


def test_what_a_boot_leaves_untold_is_remarked_by_name():
    log = "INFO Initializing a V1 LLM engine (v0.34.0) with config: enforce_eager=True\n"
    engine, booted = ENGINES["vllm"], spec(release="0.34.0", options=("--enforce-eager", "--quantization", "fp8"))
    found = list(engine.remarks(booted, log, engine.report(booted, log, "http://127.0.0.1:9")))
    newest = engine.releases.known[-1]
    assert found == [
        f"vLLM 0.34.0 has not been seen with this suite; treated as {newest}",
        "vLLM 0.34.0 calls --quantization fp8 deprecated: --quantization fp8_per_tensor is what it wants for weights that it "
        "quantises itself",
        "the engine's log does not tell: weight_memory, load_time, kv_capacity, the phase 'loading weights', "
        "the phase 'weights loaded', the phase 'allocating KV cache', the phase 'starting HTTP server', the phase 'importing'",
    ]
