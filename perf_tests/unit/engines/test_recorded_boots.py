"""Logs of boots as they were, of each release that was seen working: what is read in them, and what is missed.

A further one is a file in ``recordings/boots`` (perf_tests.tools.record_boot makes it of a server's log) and an entry in its
boots.toml.
"""

import tomllib

import pytest

from fixtures.engines.registry import ENGINES
from perf_tests.fakes.specs import spec
from perf_tests.paths import RECORDINGS
from perf_tests.tools import record_boot

pytestmark = pytest.mark.cpu
DIRECTORY = RECORDINGS / "boots"
BOOTS = {boot["file"]: boot for boot in tomllib.loads((DIRECTORY / "boots.toml").read_text(encoding="utf-8"))["boot"]}
# Nothing listens there: what an endpoint or a worker would tell is missed.
NOWHERE = "http://127.0.0.1:9"


def replayed(boot):
    engine, log = ENGINES[boot["engine"]], (DIRECTORY / boot["file"]).read_text(encoding="utf-8")
    booted = spec(device=boot["device"], options=tuple(boot["options"]), release=boot["release"])
    report = engine.report(booted, log, NOWHERE)
    return engine, log, report, list(engine.remarks(booted, log, report))


@pytest.mark.parametrize("boot", BOOTS.values(), ids=list(BOOTS))
def test_a_recorded_boot_is_understood(boot):
    _, _, report, remarks = replayed(boot)
    assert {name: value for name, value in report.told.items() if value is not None} == boot["told"]
    assert report.execution == boot["execution"]
    assert remarks == boot["remarks"]


@pytest.mark.parametrize("boot", BOOTS.values(), ids=list(BOOTS))
def test_the_phases_of_a_recorded_boot_are_followed(boot):
    engine, log, _, _ = replayed(boot)
    phases = [engine.phase(line, boot["release"]) for line in log.splitlines()]
    assert list(dict.fromkeys(filter(None, phases))) == boot["phases"]


@pytest.mark.parametrize("boot", BOOTS.values(), ids=list(BOOTS))
def test_each_line_of_a_recorded_boot_that_goes_missing_is_named(boot):
    """Without the lines that tell a value, or mark a phase, exactly that is remarked."""
    engine, log, report, before = replayed(boot)
    booted = spec(device=boot["device"], options=tuple(boot["options"]), release=boot["release"])
    expected = [*engine.releases.expected(boot["release"], engine.conditions(booted, log))]
    told = [name for name in expected if report.told[name] is not None]
    assert told, "a recording tells something"
    for name in told:
        lines = log.splitlines(keepends=True)
        cut = "".join(line for line in lines if not engine.releases.told(name, boot["release"], line))
        found = list(engine.remarks(booted, cut, engine.report(booted, cut, NOWHERE)))
        (missing,) = [text for text in found if text.startswith("the engine's log does not tell: ")]
        assert name in missing.removeprefix("the engine's log does not tell: ").split(", ")
        assert found != before


def test_a_release_that_was_recorded_was_seen():
    """Which of those that were seen are recorded is in the table of docs/engines.md."""
    for boot in BOOTS.values():
        where = "cpu" if boot["device"] == "cpu" else "card"
        assert not ENGINES[boot["engine"]].releases.remark(boot["release"], where), boot["file"]


def test_every_recording_has_an_entry():
    assert {path.name for path in DIRECTORY.glob("*.log")} == set(BOOTS)


def test_a_recording_keeps_what_is_read_and_says_nothing_of_the_machine():
    log = """\
(APIServer pid=29284) INFO 11-28 09:39:55 [api_utils.py:286] non-default args: {'model': '/home/jo/models/m', \
'served_model_name': ['m-20261128T093324-6aae78'], 'host': '10.1.2.3'}
(EngineCore pid=3) INFO [core.py:123] Initializing a V1 LLM engine (v0.30.0) with config: model='/home/jo/models/m', \
enforce_eager=True, compilation_config={'mode': <CompilationMode.NONE: 0>, 'cudagraph_mode': <CUDAGraphMode.NONE: 0>}
INFO nothing that is read, on host jo-laptop
INFO Using configuration from /home/jo/vllm/configs/E=8,N=14336,device_name=NVIDIA_H200.json for MoE layer.
"""
    assert (
        record_boot.recording(ENGINES["vllm"].releases, log)
        == """\
(APIServer pid=1) INFO 11-28 09:39:55 [api_utils.py:286] non-default args: {'model': '/models/m', \
'served_model_name': ['m'], 'host': '127.0.0.1'}
(EngineCore pid=1) INFO [core.py:123] Initializing a V1 LLM engine (v0.30.0) with config: \
enforce_eager=True, 'mode': <CompilationMode.NONE: 0>, 'cudagraph_mode': <CUDAGraphMode.NONE: 0>
INFO Using configuration from /configs/E=8,N=14336,device_name=NVIDIA_H200.json for MoE layer.
"""
    )
    kept = record_boot.recording(ENGINES["vllm"].releases, log, keep="nothing")
    assert "INFO nothing that is read" in kept


def test_the_recordings_are_trimmed():
    for boot in BOOTS.values():
        text = (DIRECTORY / boot["file"]).read_text(encoding="utf-8")
        assert record_boot.recording(ENGINES[boot["engine"]].releases, text) == text, boot["file"]
