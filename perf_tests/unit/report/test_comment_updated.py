"""The comment on a pull request is written anew where it is: the workflow's own shell and the real ``gh``."""

import os
import shutil
import subprocess
import textwrap

import pytest

from fixtures.report import comment
from fixtures.report.comment import MARKER
from perf_tests.fakes.github_comments import BOT, HOST, PAGE, TOKEN, Comments, served
from perf_tests.fakes.reported_runs import calm, worse
from perf_tests.paths import ROOT
from perf_tests.workflows import run_blocks

pytestmark = [
    pytest.mark.cpu,
    pytest.mark.skipif(shutil.which("gh") is None, reason="no gh, GitHub's command line, here"),
]
REPOSITORY, NUMBER = "team/serving", 7


@pytest.fixture
def job(tmp_path):
    """The comments of a pull request, and what runs the job's shell with a comment to write."""
    workflow = (ROOT / ".github" / "workflows" / "pull-request.yml").read_text()
    (block,) = [one for one in run_blocks(workflow) if "gh api" in one]
    script = tmp_path / "job.sh"
    script.write_text(textwrap.dedent(block.removeprefix(" |")))
    report = tmp_path / "moegauge" / "comment.md"
    report.parent.mkdir()
    comments = Comments(REPOSITORY, NUMBER)
    for number in range(100):
        comments.add(f"person-{number}", "Looks good to me")

    def run(text):
        report.write_text(text)
        variables = {"GITHUB_REPOSITORY": REPOSITORY, "NUMBER": str(NUMBER), "GH_TOKEN": TOKEN, "GH_HOST": HOST}
        own = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "HTTP_PROXY": proxy}
        # As GitHub runs what names no shell.
        command = ["bash", "-e", str(script)]
        return subprocess.run(command, cwd=tmp_path, env=variables | own, capture_output=True, text=True, check=False)

    with served(comments) as proxy:
        yield comments, run


def test_the_first_run_writes_a_comment_and_the_next_ones_write_it_anew(job):
    comments, run = job
    quoted = comments.add("a-person", f"{MARKER}\nis how it begins")
    other = comments.add("dependabot[bot]", f"{MARKER}\nof another bot")
    same = comments.add(BOT, f"of another workflow, which says {MARKER}")
    before = comments.bodies()
    for written in (calm(), worse(), calm()):
        text = comment.comment(written, "https://ci.example.org/1?a=b&c=d")
        assert run(text).returncode == 0
        (own,) = comments.bodies().keys() - before
        assert comments.bodies() == {**before, own: text}
    assert [one.partition(" ")[0] for one in comments.requests] == ["GET", "GET", "POST", *["GET", "GET", "PATCH"] * 2]
    assert {quoted, other, same} < before.keys()
    assert len(before) > 100 > PAGE, "the own comment is not on the first page"


def test_of_two_comments_of_its_own_the_first_is_written_anew(job):
    comments, run = job
    first, second = (comments.add(BOT, f"{MARKER}\nof an earlier run") for _ in range(2))
    text = comment.comment(calm())
    assert run(text).returncode == 0
    assert (comments.bodies()[first], comments.bodies()[second]) == (text, f"{MARKER}\nof an earlier run")


def test_a_run_that_left_no_report_writes_nothing(job):
    comments, run = job
    done = run("")
    assert (done.returncode, done.stdout) == (0, "::notice::no comment: the run left no report\n")
    assert comments.requests == []


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
@pytest.mark.parametrize("fault", ["failing", "cut"])
def test_what_github_does_not_do_fails_the_job_and_writes_no_second_comment(job, method, fault):
    comments, run = job
    if method != "POST":
        assert run(comment.comment(calm())).returncode == 0
    before = comments.bodies()
    getattr(comments, fault).add(method)
    done = run(comment.comment(worse()))
    assert done.returncode != 0
    assert ("HTTP 502" if fault == "failing" else "EOF") in done.stderr
    assert comments.bodies() == before
