"""Options: each is decoded once, those that exclude each other are refused, and a printed command gives the same ones again."""

import argparse
import dataclasses
import re
import shlex
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from fixtures.deployments.cell import cells
from fixtures.deployments.deployment import load
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.gate.rule import MAX_BOOTS
from fixtures.plugin import options
from fixtures.session.options import Options
from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu


class Given:
    """pytest's configuration after a command line; ``names`` are the suite's options."""

    def __init__(self, *arguments):
        parser = argparse.ArgumentParser()
        self.names = []

        def add(name, **settings):
            self.names.append(name)
            parser.add_argument(name, **settings)

        options.pytest_addoption(SimpleNamespace(getgroup=lambda *_: SimpleNamespace(addoption=add)))
        parser.add_argument("-m", dest="markexpr", default="")
        self._values = vars(parser.parse_args(arguments))

    def getoption(self, name):
        return self._values[name.removeprefix("--").replace("-", "_")]


def decoded(*arguments):
    return options.decode(Given(*arguments))


def test_every_option_has_a_field_and_every_field_an_option():
    fields = {field.name for field in dataclasses.fields(Options)} - {"wants_gpu"}
    assert {name.removeprefix("--").replace("-", "_") for name in Given().names} == fields


def test_nothing_else_reads_an_option():
    readers = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "fixtures").rglob("*.py")
        if re.search(r"""getoption\(["']--|option\(["']--""", path.read_text())
    }
    assert readers == {"fixtures/plugin/options.py"}


def test_without_options_everything_is_at_its_default():
    assert decoded() == Options()
    assert decoded().boots == MAX_BOOTS
    assert decoded("--replay=x").boots == 1, "the last one stands for the run"
    assert decoded("--replay=x", "--max-boots=3").boots == 3


@pytest.mark.parametrize(
    ("arguments", "field", "value"),
    [
        (["--deployment=cpu"], "deployment", "cpu"),
        (["--cells=*/batch-1", "--cells=vllm/*"], "cells", ("*/batch-1", "vllm/*")),
        (["--engine-env=vllm=a", "--engine-env=sglang=b"], "engine_env", {"vllm": Path("a"), "sglang": Path("b")}),
        (["--engine-url=http://h:1"], "engine_url", (("", "http://h:1"),)),
        (["--engine-url=m=http://h:1", "--engine-url=n=x"], "engine_url", (("m", "http://h:1"), ("n", "x"))),
        (["--boot-id=Monday"], "boot_id", "Monday"),
        (["--boots-of=a", "--boots-of=b"], "boots_of", (Path("a"), Path("b"))),
        (["--weights=org/name"], "weights", (("", "org/name"),)),
        (["--weights=m=org/name"], "weights", (("m", "org/name"),)),
        (["--sharegpt=s.json"], "sharegpt", Path("s.json")),
        (["--baselines=b"], "baselines", Path("b")),
        (["--update-baselines"], "update_baselines", "replace"),
        (["--update-baselines=append"], "update_baselines", "append"),
        (["--max-boots=3"], "max_boots", 3),
        (["--time-limit=0"], "time_limit", 0.0),
        (["--time-limit=90.5"], "time_limit", 90.5),
        (["--compare-engine-env=vllm=new"], "compare_engine_env", {"vllm": Path("new")}),
        (["--compare-engine-options=vllm=--a b=c"], "compare_engine_options", {"vllm": "--a b=c"}),
        (["--control-engine-env=vllm=old"], "control_engine_env", {"vllm": Path("old")}),
        (["--profile"], "profile", "regressions"),
        (["--profile=all"], "profile", "all"),
        (["--client-workers=3"], "client_workers", 3),
        (["--strict-verdicts"], "strict_verdicts", True),
        (["--strict-baselines"], "strict_baselines", True),
        (["--replay=r"], "replay", Path("r")),
        (["--history=h.jsonl"], "history", Path("h.jsonl")),
        (["--claims"], "claims", True),
        (["--artifacts=a"], "artifacts", Path("a")),
        (["-m", "gpu"], "wants_gpu", True),
        (["-m", "serving and gpu"], "wants_gpu", True),
    ],
)
def test_an_option_is_decoded_into_its_field_alone(arguments, field, value):
    assert decoded(*arguments) == dataclasses.replace(Options(), **{field: value})


def test_the_link_of_a_night():
    assert decoded("--history=h.jsonl", "--link=https://ci/7").link == "https://ci/7"


def test_the_protocol_of_a_server_that_runs():
    assert decoded("--engine-url=http://h:1", "--engine-protocol=sglang").engine_protocol == "sglang"


def test_who_excludes_gpu_does_not_want_it():
    assert not decoded("-m", "serving and not gpu").wants_gpu


def test_new_baselines_take_one_boot():
    assert decoded("--max-boots=3").boots == 3
    assert decoded("--max-boots=3", "--update-baselines").boots == 1


def test_options_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Options().deployment = "cpu"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--engine-protocol=sglang"], "--engine-protocol: says how --engine-url is spoken to; give that too"),
        (
            ["--boots-of=r", "--update-baselines"],
            "--boots-of: adds boots to what is judged; --update-baselines judges none",
        ),
        (["--replay=r", "--update-baselines"], "--replay: measures nothing; leave out --update-baselines, "),
        (["--replay=r", "--engine-url=http://h:1"], "--replay: measures nothing; leave out --update-baselines, "),
        (["--replay=r", "--history=h"], "--engine-url and --history"),
        (["--link=https://ci/7"], "--link: is kept in a night's history; give --history too"),
        (
            ["--history=h", "--link=javascript:x"],
            "--link: expected the address of this run, https://... or http://..., found",
        ),
        (["--compare-engine-env=vllm=x", "--replay=r"], "--compare-engine-...: compares two engines"),
        (["--compare-engine-env=vllm=x", "--replay=r"], "booted here; leave out --replay"),
        (["--compare-engine-options=vllm=-x", "--engine-url=http://h:1"], "leave out --engine-url"),
        (["--compare-engine-options=vllm=-x", "--update-baselines"], "leave out --update-baselines"),
        (["--compare-engine-options=vllm=-x", "--history=h"], "leave out --history"),
        (
            ["--side-by-side"],
            "--side-by-side: is for two engines: give --compare-engine-env, --compare-engine-options, ",
        ),
        (["--control-engine-env=vllm=x", "--replay=r"], "leave out --replay"),
        (["--control-engine-env=vllm=x", "--engine-url=http://h:1"], "leave out --engine-url"),
        (["--control-engine-env=vllm=x", "--update-baselines"], "leave out --update-baselines"),
        (["--control-engine-env=vllm=x", "--compare-engine-env=vllm=y"], "--control-engine-env: --compare-engine-..."),
        (["--engine-env=vlm=x"], "--engine-env: unknown engine 'vlm'; expected ENGINE=DIR with vllm, sglang"),
        (["--engine-env=x"], "--engine-env: unknown engine ''; expected ENGINE=DIR with vllm, sglang"),
        (["--compare-engine-env=vlm=x"], "--compare-engine-env: unknown engine 'vlm'; expected ENGINE=DIR with "),
    ],
)
def test_what_excludes_something_else_or_names_no_engine_is_a_usage_error(arguments, message):
    with pytest.raises(UsageError) as caught:
        decoded(*arguments)
    assert message in str(caught.value)


@pytest.mark.parametrize("count", ["0", "-1", "2.5", "many"])
def test_a_wrong_number_of_boots_is_named(capsys, count):
    with pytest.raises(SystemExit):
        Given(f"--max-boots={count}")
    assert f"expected a positive number of boots, found '{count}'" in capsys.readouterr().err


@pytest.mark.parametrize("seconds", ["-1", "5m", "nan"])
def test_a_wrong_time_limit_is_named(capsys, seconds):
    with pytest.raises(SystemExit):
        Given(f"--time-limit={seconds}")
    assert f"expected seconds, 0 or more, found '{seconds}'" in capsys.readouterr().err


REPEATED = (
    "--engine-env=vllm=a directory",
    "--weights=m=org/name",
    "--weights=all",
    "--sharegpt=s.json",
    "--baselines=b",
    "--time-limit=90",
)


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        REPEATED,
        (*REPEATED, "--engine-url=m=http://h:1", "--engine-url=http://h:2", "--engine-protocol=sglang"),
        (*REPEATED, "--boot-id=Monday's boot", "--boots-of=a", "--boots-of=b"),
        (*REPEATED, "--compare-engine-env=sglang=c", "--compare-engine-options=vllm=--a b=c"),
        (*REPEATED, "--control-engine-env=vllm=the baseline's"),
    ],
)
def test_a_printed_command_measures_the_cells_under_the_same_options(monkeypatch, arguments):
    monkeypatch.setattr(sys, "argv", ["/bin/pytest"])
    own = cells(load("cpu", ENGINES), ["*/batch-8"])
    program, *words = shlex.split(options.command(decoded(*arguments), "cpu", own))
    assert program == "/bin/pytest"
    again = decoded(*words)
    assert again.cells == tuple(cell.id for cell in own)
    given = decoded(*arguments, "--deployment=cpu")
    assert dataclasses.replace(again, cells=()) == given


def test_a_printed_command_leaves_out_what_is_of_one_session_only(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/lib/pytest/__main__.py"])
    given = decoded("--deployment=mine.toml", "--update-baselines", "--history=h", "--artifacts=a", "--cells=x")
    assert shlex.split(options.command(given, "mine", [])) == [
        *[sys.executable, "-m", "pytest", "-m", "serving", "--deployment=mine.toml"]
    ]


def test_a_command_that_is_committed_names_no_directory_of_this_machine():
    given = ["-m", "serving", "--deployment=/home/me/mine.toml", "/home/me/tests", "--weights=m=/data/weights"]
    assert options.without_paths(given) == "pytest -m serving --deployment=mine.toml tests --weights=m=weights"
