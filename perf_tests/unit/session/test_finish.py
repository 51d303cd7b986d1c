"""What a session leaves when it ends: files all or none, and remarks that say what became of them."""

import dataclasses
import datetime
import json
import re

import pytest

from fixtures.deployments.cell import cells
from fixtures.deployments.deployment import load
from fixtures.engines.registry import ENGINES
from fixtures.gate.verdict import Outcome, Verdict
from fixtures.session import finish
from fixtures.session.build import SessionConfig
from fixtures.session.finish import Records, Remark
from fixtures.session.measurer import Measurer
from fixtures.session.options import Options
from fixtures.session.session import Session
from fixtures.session.source import Servers
from fixtures.session.time_limit import TimeLimit
from fixtures.store import baseline, history, run
from perf_tests.fakes.judging import judge_beside
from perf_tests.fakes.samples import sample

pytestmark = pytest.mark.cpu
BEGAN = datetime.datetime(2026, 3, 1, 2, tzinfo=datetime.UTC)


def boot_of(boot, duration=1.0, invalid=""):
    values = {"duration": duration, "completed": 150.0}
    return sample(boot, invalid, metrics=values, provenance={"commit": "abc", "kernel": boot})


class Ending:
    """A session about to end. It has measured a cell at TP=1 and one at TP=2: their baselines are in two directories."""

    def __init__(self, directory):
        self.directory, self.root = directory, directory / "baselines"
        deployment = load("cpu", ENGINES)
        gated = tuple(name for name in deployment.gated if name != "cpu_time_to_tp_1")  # each cell stands for itself
        self.deployment = dataclasses.replace(deployment, gated=gated)
        patterns = ["*/llama-3.1-8b-twin/*/offline-150"]
        chosen = [cell for cell in cells(self.deployment, patterns) if cell.workload.kind == "offline"]
        self.first, self.second = chosen
        self.judge = judge_beside(self.deployment, chosen, self.root)
        servers = Servers(Measurer(self.deployment, [], None), None)
        self.session = Session(self.judge, servers, directory / "run", max_boots=1)  # nothing is measured again
        self.measured = {self.first: [boot_of("1")], self.second: [boot_of("1", 2.0)]}

    def finish(self, records=True, candidate="", meanwhile=lambda: None, notes=(), **options):
        """How the session ends; verdicts are given before, as tests would ask for them, and something happens meanwhile."""
        config = SessionConfig(
            Options(**options),
            self.deployment,
            self.judge.cells,
            [],
            "",
            "run-1",
            BEGAN,
            self.directory / "run",
            self.session,
            notes,
        )
        self.judge.reference.candidate = candidate
        self.session.boots.update(self.measured)
        self.judge.read_baselines()
        for cell in self.judge.cells:
            for metric in self.judge.metrics(cell):
                self.session.verdict(cell, metric)
        meanwhile()
        handed = Records({cell: self.record(cell, config) for cell in self.measured}, {"id": "abc"}, "5.3.1")
        return finish.finish(config, handed if records else None, {"claim-1": ["passed"]}, lambda cells: "again")

    def record(self, cell, config):
        return {
            "fullname": cell.id,
            "name": cell.workload.name,
            "extra_info": {"workload": cell.workload.definition(), "boots": finish.valid_boots(config, cell)},
        }

    def path(self, cell):
        return self.judge.reference.path(cell.block)

    def boots(self, cell):
        return [boot.boot for boot in baseline.read(self.path(cell)).cells[cell.id].boots]

    def files(self):
        return {path: path.read_bytes() for path in self.root.rglob("*") if path.is_file()}


@pytest.fixture
def ending(tmp_path):
    return Ending(tmp_path)


@pytest.fixture
def next_night(ending, tmp_path):
    """The session after one that wrote the baselines of both models, with boots of its own."""
    ending.finish(update_baselines="replace")
    later = Ending(tmp_path)
    later.measured = {later.first: [boot_of("2")], later.second: [boot_of("2", 2.0)]}
    return later


def texts(finished, level):
    return [remark.text for remark in finished.remarks if remark.level == level]


@pytest.mark.parametrize(("boots", "noisy", "said"), [(2, True, True), (3, True, False), (2, False, False)])
def test_with_too_few_boots_it_is_said_that_nothing_could_be_found(ending, boots, noisy, said):
    ending.judge.night_boots = boots
    found = Verdict(Outcome.PASS, 1.0, 1.0, 0.0, "", error=0.01 if noisy else None)
    verdicts = {(ending.first.id, "latency"): found}
    done = ending.finish(records=False, meanwhile=lambda: ending.session.verdicts.update(verdicts))
    text = f"--max-boots={boots}: it takes 3 boots to find that what is noisy got worse"
    assert (text in texts(done, "warning")) == said


def test_baselines_of_both_models_are_written_and_named(ending):
    done = ending.finish(update_baselines="replace")
    assert not done.failed
    paths = [ending.path(cell) for cell in (ending.first, ending.second)]
    assert sorted(ending.files()) == sorted(paths)
    assert ending.boots(ending.first) == ["1"]
    for path in paths:
        assert Remark(f"baseline written: {path}") in done.remarks
    assert Remark("moved: nothing beyond its tolerance") in done.remarks
    assert not texts(done, "error")
    assert json.loads(paths[0].read_text())["commit_info"] == {"id": "abc"}


def test_without_being_asked_no_baseline_is_written(ending):
    done = ending.finish(records=False)
    assert not ending.files()
    assert not done.failed
    paths = [ending.path(cell) for cell in (ending.first, ending.second)]
    assert [remark.level for remark in done.remarks] == ["warning", "warning"]
    for path, remark in zip(paths, done.remarks, strict=True):
        assert re.fullmatch(rf"no baseline for \d metrics: no {path}: write it with --update-baselines", remark.text)


def test_what_is_written_holds_the_valid_boots_of_the_end(ending):
    ending.measured[ending.first] = [boot_of("1", invalid="throttled"), boot_of("2"), boot_of("3")]
    ending.finish(update_baselines="replace")
    assert ending.boots(ending.first) == ["2", "3"]


def test_boots_are_appended(next_night):
    done = next_night.finish(update_baselines="append")
    assert not done.failed
    assert next_night.boots(next_night.first) == next_night.boots(next_night.second) == ["1", "2"]


def refused(ending, **options):
    """The reason for which nothing was written, all files being as they were."""
    before = ending.files()
    done = ending.finish(update_baselines="append", **options)
    assert ending.files() == before
    assert done.failed
    assert not [remark for remark in done.remarks if "baseline written" in remark.text]
    (text,) = texts(done, "error")
    assert text.startswith("not written: ")
    assert text in done.run.remarks, "the report says it too"
    return text


def test_another_fingerprint_in_the_second_file_leaves_the_first_as_it_was(next_night):
    path = next_night.path(next_night.second)
    path.write_text(path.read_text().replace('"tensor_parallel": 2', '"tensor_parallel": 4'))
    assert f"{path}: its fingerprint differs from this run's" in refused(next_night)


def test_a_boot_that_the_second_file_has_leaves_the_first_as_it_was(next_night):
    next_night.measured[next_night.second] = [boot_of("1", 2.0)]
    assert f"{next_night.second.id}: boot 1 is already in the baseline" in refused(next_night)


def test_a_second_directory_that_cannot_be_written_leaves_the_first_file_as_it_was(next_night):
    first, second = (next_night.path(cell) for cell in (next_night.first, next_night.second))
    before = first.read_bytes()

    def meanwhile():
        second.unlink()
        second.parent.rmdir()
        second.parent.symlink_to("/proc/moegauge")

    done = next_night.finish(update_baselines="replace", meanwhile=meanwhile)
    assert done.failed
    assert first.read_bytes() == before
    assert list(next_night.files()) == [first]
    (text,) = texts(done, "error")
    assert text.startswith(f"not written: {second}: cannot be written: ")


def test_a_cell_without_a_valid_boot_is_left_out_and_named(ending):
    ending.measured[ending.second] = [boot_of("1", invalid="throttled")]
    done = ending.finish(update_baselines="replace")
    assert not done.failed
    assert list(ending.files()) == [ending.path(ending.first)]
    assert texts(done, "error") == [f"left out of the baselines, every boot is invalid: {ending.second.id} (throttled)"]


def test_baselines_and_history_fail_on_their_own(ending, tmp_path):
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "history.jsonl"
    ending.measured[ending.second] = [boot_of("1", invalid="throttled")]
    done = ending.finish(update_baselines="replace", history=path)
    assert done.failed
    assert ending.boots(ending.first) == ["1"]
    assert Remark(f"baseline written: {ending.path(ending.first)}") in done.remarks
    left_out, not_written = texts(done, "error")
    assert left_out.startswith("left out of the baselines")
    assert not_written.startswith(f"not written: {path}: cannot be written")


def test_a_history_is_appended_to_also_where_baselines_are_refused(next_night, tmp_path):
    path = tmp_path / "history.jsonl"
    next_night.measured[next_night.second] = [boot_of("1", 2.0)]
    before = next_night.files()
    done = next_night.finish(update_baselines="append", history=path, link="https://ci/7")
    assert done.failed
    assert next_night.files() == before
    count = len(history.read(path))
    assert {one.link for one in history.read(path)} == {"https://ci/7"}
    assert count
    assert Remark(f"history: {count} lines appended to {path}") in done.remarks


def test_a_report_that_fails_costs_no_baseline(ending, monkeypatch):
    monkeypatch.setattr(finish.reports, "write", lambda *_: 1 / 0)
    done = ending.finish(update_baselines="replace")
    assert done.failed
    assert done.run is None
    assert ending.boots(ending.first) == ["1"]
    (text,) = texts(done, "error")
    assert text.startswith("not written: report: ZeroDivisionError('division by zero'); `python -m fixtures.report ")


def test_a_report_that_cannot_be_written_is_named(ending, tmp_path):
    (tmp_path / "run").write_text("a file where the directory should be")
    done = ending.finish(records=False)
    assert done.failed
    (text,) = texts(done, "error")
    assert text.startswith(f"not written: {tmp_path / 'run'}")


def test_the_reports_say_what_the_summary_says(ending, tmp_path):
    done = ending.finish(update_baselines="replace")
    assert done.run.remarks == tuple(remark.text for remark in done.remarks)
    assert done.run.claims == {"claim-1": ("passed",)}
    assert run.read(tmp_path / "run").remarks == done.run.remarks
    assert (tmp_path / "run" / "report.html").exists()


def test_what_differs_from_the_baseline_is_a_warning(next_night):
    done = next_night.finish(records=False)
    assert "changed since the baseline: kernel 1 -> 2" in texts(done, "warning")


def test_what_engines_do_not_tell_is_a_warning_with_the_blocks_that_it_is_said_of(ending):
    untold = "the engine's log does not tell: load_time"
    for cell, remarks in ((ending.first, [untold]), (ending.second, [untold, "vLLM 9 has not been seen"])):
        (boot,) = ending.measured[cell]
        origin = boot.provenance | {"engine_remarks": remarks}
        ending.measured[cell] = [dataclasses.replace(boot, provenance=origin)]
    done = ending.finish(records=False)
    one, other = "vllm/llama-3.1-8b-twin/tp1", "vllm/llama-3.1-8b-twin/tp2"
    assert f"{one}, {other}: {untold}" in texts(done, "warning")
    assert f"{other}: vLLM 9 has not been seen" in texts(done, "warning")
    assert untold in (ending.directory / "run" / "report.html").read_text().replace("&#39;", "'")


def test_engines_side_by_side_that_did_not_share_cores_are_told_with_how_far_these_were_apart(ending, monkeypatch):
    paces = {ending.first: {"a": 1.05, "b": 0.6}, ending.second: {"a": 1.02}}
    own = type(ending.judge).ratios

    def ratios(judge, cell, metric):
        return paces[cell] if metric.name == "host_work" else own(judge, cell, metric)

    monkeypatch.setattr(type(ending.judge), "ratios", ratios)
    assert not any("share cores" in remark for remark in texts(ending.finish(), "warning"))
    why = "both engines did not share cores, as one polls: what these differ by is in first tokens"
    by = f" (host_work against the other engine's in a pair: -40% in {ending.first.id})"
    for cell, shown in ((ending.first, by), (ending.second, "")):
        ending.session.cores_apart.clear()
        ending.session.cores_apart[cell] = "one polls"
        assert f"{cell.block.id}: {why}{shown}" in texts(ending.finish(), "warning")
    paces[ending.second] = {"a": 1.8}
    ending.session.cores_apart[ending.first] = "one polls"
    both = (
        f"{why} (host_work against the other engine's in a pair: +80% in {ending.second.id}, -40% in {ending.first.id})"
    )
    assert f"{ending.second.block.id}, {ending.first.block.id}: {both}" in texts(ending.finish(), "warning")


def test_why_verdicts_are_invalid_is_said_once(ending):
    for cell, share in ((ending.first, 4), (ending.second, 3)):
        ending.measured[cell] = [boot_of("1", invalid=f"{share} of 4 streams came at once")]
    said = f"invalid, {ending.first.id}, {ending.second.id}: 4 of 4 streams came at once"
    assert [text for text in texts(ending.finish(records=False), "warning") if "invalid" in text] == [said]


def test_what_streams_did_not_show_is_said_once_also_where_it_is_not_judged(ending):
    reason = "4 of 4 streams came at once"
    for cell in (ending.first, ending.second):
        (boot,) = ending.measured[cell]
        ending.measured[cell] = [dataclasses.replace(boot, unseen=reason)]
    done = ending.finish(records=False)
    said = [text for text in texts(done, "warning") if reason in text]
    assert said == [f"not seen, {ending.first.id}, {ending.second.id}: {reason}"]


def test_what_became_of_the_users_data_is_said_at_the_end_too(ending):
    """The head of a session has scrolled away by then, and the reports never had it."""
    note = "--sharegpt: m: lengths alone (there is no tokenizer.json)"
    done = ending.finish(records=False, notes=(note,))
    assert Remark(note) in done.remarks
    assert note in done.run.remarks


def test_cells_of_the_baseline_that_nothing_measures_are_named_by_file(next_night):
    path = next_night.path(next_night.first)
    data = json.loads(path.read_text())
    data["benchmarks"].append(data["benchmarks"][0] | {"fullname": "vllm/llama-3.1-8b-twin/tp1/offline-9"})
    path.write_text(json.dumps(data))
    done = next_night.finish(records=False)
    (text,) = [text for text in texts(done, "warning") if "offline-9" in text]
    assert text.startswith(f"{path}: nothing measures vllm/llama-3.1-8b-twin/tp1/offline-9 any more: ")


def test_an_improvement_asks_for_a_new_baseline_until_there_is_one(next_night):
    better = dataclasses.replace(boot_of("2"), metrics={"duration": 1.0, "completed": 151.0})
    verdicts = next_night.session.verdicts

    def improved():
        key = (next_night.first.id, "completed")
        verdicts[key] = dataclasses.replace(
            verdicts[key], outcome=finish.Outcome.IMPROVEMENT, baseline=150.0, value=151.0, change=1 / 150
        )

    next_night.measured[next_night.first] = [better]
    asked = "better than the baseline: commit a new one with --update-baselines, or later losses will hide in it"
    assert Remark(asked) in next_night.finish(records=False, meanwhile=improved).remarks
    assert Remark(asked) not in next_night.finish(records=False, meanwhile=improved, candidate="vllm new").remarks
    done = next_night.finish(update_baselines="replace", meanwhile=improved)
    assert Remark(asked) not in done.remarks
    moved = f"moved: {next_night.first.id} completed 150 requests -> 151 requests (+0.7%)"
    assert Remark(moved) in done.remarks


def test_no_new_baseline_is_asked_for_beside_a_regression(next_night):
    def both():
        first, second = [key for key in next_night.session.verdicts if key[1] == "completed"]
        for key, outcome in ((first, finish.Outcome.IMPROVEMENT), (second, finish.Outcome.REGRESSION)):
            next_night.session.verdicts[key] = dataclasses.replace(next_night.session.verdicts[key], outcome=outcome)

    done = next_night.finish(records=False, meanwhile=both)
    told = "better than the baseline, but something regressed: find out why before a new baseline is committed"
    assert Remark(told) in done.remarks
    assert not [text for text in texts(done, "note") if "--update-baselines" in text]


def test_a_cell_that_was_not_judged_says_that_it_is_invalid(ending):
    """As in a run that was interrupted before its verdicts."""
    ending.measured[ending.first] = [boot_of("1", invalid="the client was late")]
    told = Remark(f"{ending.first.id} is invalid and was not judged: the client was late", "warning")
    assert told in ending.finish(records=False, meanwhile=ending.session.verdicts.clear).remarks
    assert told not in ending.finish(records=False).remarks


def test_a_comparison_and_its_profiles_are_described(ending):
    ending.session.profiles[ending.first] = "run/profile/x"
    remarks = ending.finish(records=False, candidate="vllm of new").remarks
    assert remarks[0] == Remark("baseline is this session's engine, value the candidate: vllm of new")
    assert Remark(f"profile of {ending.first.id}: run/profile/x") in remarks


def test_what_the_time_limit_left_open_is_named_with_the_command_that_tells(ending):
    """Not a cell that was left out of a further boot, and then decided all the same."""
    told = Remark(
        f"time_limit of 60 s: {ending.first.id} would have been measured again beyond it; to tell: again --time-limit=0",
        "warning",
    )

    def left_open():
        for cell, outcome in ((ending.first, Outcome.INCONCLUSIVE), (ending.second, Outcome.REGRESSION)):
            open_ = outcome is Outcome.INCONCLUSIVE
            ending.session.verdicts[cell.id, "idle_cores"] = Verdict(outcome, 0.36, None, None, "", suspicious=open_)
            ending.session.time_limit.left_out.add(cell)

    ending.session.time_limit = TimeLimit(60)
    assert told not in ending.finish(records=False).remarks
    assert told in ending.finish(records=False, meanwhile=left_open).remarks
