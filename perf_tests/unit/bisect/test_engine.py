"""Where the engines of a search come from: directories, requirements, commits that are built."""

import subprocess

import pytest

from fixtures.bisect.__main__ import main
from fixtures.bisect.engine import commits, given
from fixtures.errors import EngineError, UsageError

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
    assert (named.name, named.prepare()) == ("old", tmp_path / "v1")
    (tmp_path / "seed=1").mkdir()
    assert given(str(tmp_path / "seed=1"), tmp_path).name == "seed=1"
    (tmp_path / "v2" / ".venv").mkdir(parents=True)
    assert (
        given(str(tmp_path / "v2" / ".venv"), tmp_path).name == given(f"{tmp_path}/v2/.venv/..", tmp_path).name == "v2"
    )
    assert given("vllm==0.32.0", tmp_path).name == "vllm==0.32.0"
    with pytest.raises(UsageError, match="no directory of an environment, no wheel, and no requirement"):
        given("vllm>=0.3", tmp_path)


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


def test_a_commit_that_cannot_be_built_says_where_its_output_is(checkout, tmp_path):
    (_, one) = commits(checkout, "HEAD~1", "HEAD", "echo no compiler; exit 3", tmp_path / "engines")
    with pytest.raises(EngineError, match=r"cannot be built: bash ended with status 3; see .*build.log"):
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
