"""The reports of a run on disk, and that they can be made again."""

import pytest

from fixtures.report import __main__ as command
from fixtures.report import reports
from fixtures.store import history
from perf_tests.fakes.reported_runs import calm
from perf_tests.fakes.synthetic_run import synthetic_history

pytestmark = pytest.mark.cpu


def test_a_run_is_kept_and_its_reports_made_again(tmp_path, capsys):
    run = calm()
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "01-vllm.log").write_text("".join(f"line {i}\n" for i in range(200)) + "\x1b[31mred\x1b[0m\n")
    history.append(tmp_path / "history.jsonl", synthetic_history(run, 3))
    reports.write(tmp_path, run)
    once = (tmp_path / "report.html").read_text()
    assert command.main([str(tmp_path)]) == 0
    assert (tmp_path / "report.html").read_text() == once
    assert "line 199\nred" in once
    assert "line 100" not in once
    assert command.main([str(tmp_path), "--history", str(tmp_path / "history.jsonl")]) == 0
    assert 'id="history"' in (tmp_path / "report.html").read_text()
    assert capsys.readouterr().out.count("report.html") == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "run.json: no such file; name the directory of a run"),
        ("{", "not valid JSON"),
        ('{"version": 9}', "version 9, this suite reads 1"),
        ('{"version": 1}', "missing key 'id'"),
    ],
)
def test_a_run_that_cannot_be_read_is_named(tmp_path, capsys, text, message):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    assert command.main([str(tmp_path)]) == 2
    assert message in capsys.readouterr().err
