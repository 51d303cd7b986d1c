"""A run's boots as baselines, afterwards."""

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from typing import get_args

import pytest

from fixtures.metrics import metrics_of
from fixtures.store import accept, baseline, run
from fixtures.workloads.workload import Kind
from perf_tests.fakes.synthetic_run import synthetic_run

pytestmark = pytest.mark.cpu


@pytest.fixture
def finished():
    return synthetic_run(cells=8)


def left(directory, finished):
    directory.mkdir()
    (directory / run.FILE).write_text(run.text(finished))
    return str(directory)


def boots(root):
    found = [baseline.read(path) for path in root.rglob("*.json")]
    return {id_: [boot.boot for boot in cell.boots] for file in found for id_, cell in file.cells.items()}


def valid(finished):
    measured = {cell.id: [boot.boot for boot in cell.boots if not boot.invalid] for cell in finished.cells}
    return {id_: names for id_, names in measured.items() if names}


def renamed(finished, suffix, of=""):
    """The run with other boots: those of one block, or all."""
    cells = []
    for cell in finished.cells:
        boots = tuple(dataclasses.replace(boot, boot=f"{boot.boot}-{suffix}") for boot in cell.boots)
        cells.append(dataclasses.replace(cell, boots=boots) if of in ("", cell.block) else cell)
    return dataclasses.replace(finished, cells=tuple(cells))


def test_valid_boots_are_written_and_read_by_pytest_benchmark(tmp_path, capsys, finished):
    directory, root = left(tmp_path / "run", finished), tmp_path / "baselines"
    assert accept.main([directory, "--baselines", str(root)]) == 0
    assert boots(root) == valid(finished)
    printed = capsys.readouterr().out
    assert printed.count("baseline written: ") == len(finished.blocks)
    path = root / "h200x1" / "vllm-tp1-dummy" / "llama-3.1-8b.json"
    own = json.loads(path.read_text())["benchmarks"][0]
    (cell,) = [cell for cell in finished.cells if cell.id == own["fullname"]]
    assert own["stats"]["data"] == pytest.approx(cell.boots[-1].repetitions["latency"], rel=1e-5)
    done = subprocess.run(
        [sys.executable, "-m", "pytest_benchmark", "compare", str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert own["name"] in done.stdout


def test_appended_once(tmp_path, capsys, finished):
    directory, root = left(tmp_path / "run", finished), tmp_path / "baselines"
    later = renamed(finished, "later")
    assert accept.main([directory, "--baselines", str(root)]) == 0
    assert accept.main([left(tmp_path / "later", later), "--baselines", str(root), "--append"]) == 0
    assert boots(root) == {id_: names + [f"{n}-later" for n in names] for id_, names in valid(finished).items()}
    assert accept.main([directory, "--baselines", str(root), "--append"]) == 2
    assert "is already in the baseline" in capsys.readouterr().err


def test_chosen_cells_alone(tmp_path, finished):
    chosen = finished.cells[0].id
    directory, root = left(tmp_path / "run", finished), tmp_path / "baselines"
    assert accept.main([directory, "--baselines", str(root), "--cells", chosen]) == 0
    assert list(boots(root)) == [chosen]


def test_an_invalid_cell_is_named_and_left_out(tmp_path, capsys, finished):
    first = finished.cells[0]
    invalid = dataclasses.replace(first, boots=tuple(dataclasses.replace(b, invalid="throttled") for b in first.boots))
    night = dataclasses.replace(finished, cells=(invalid, *finished.cells[1:]))
    root = tmp_path / "baselines"
    assert accept.main([left(tmp_path / "run", night), "--baselines", str(root)]) == 0
    assert f"left out: {first.id}: every boot is invalid" in capsys.readouterr().out
    assert first.id not in boots(root)


def test_what_one_file_refuses_no_file_gets(tmp_path, capsys, finished):
    directory, root = left(tmp_path / "run", finished), tmp_path / "baselines"
    block = finished.blocks[-1]
    other = dataclasses.replace(block, fingerprint=block.fingerprint | {"dtype": "float16"})
    before = dataclasses.replace(
        finished, blocks=(other,), cells=tuple(c for c in finished.cells if c.block == block.id)
    )
    assert accept.main([left(tmp_path / "before", before), "--baselines", str(root)]) == 0
    kept = boots(root)
    assert accept.main([directory, "--baselines", str(root), "--append"]) == 2
    assert "replace it instead of appending" in capsys.readouterr().err
    assert boots(root) == kept


def files(root):
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_a_boot_that_one_file_has_already_leaves_every_file_as_it_was(tmp_path, capsys, finished):
    root, first = tmp_path / "baselines", finished.blocks[0]
    other = renamed(finished, "before", of=first.id)
    assert accept.main([left(tmp_path / "before", other), "--baselines", str(root)]) == 0
    kept = files(root)
    assert len(kept) == len(finished.blocks)
    assert accept.main([left(tmp_path / "run", finished), "--baselines", str(root), "--append"]) == 2
    assert "is already in the baseline" in capsys.readouterr().err
    assert files(root) == kept


def test_a_directory_that_cannot_be_written_leaves_every_file_as_it_was(tmp_path, capsys, finished):
    root, last = tmp_path / "baselines", finished.blocks[-1]
    directory = left(tmp_path / "run", finished)
    assert accept.main([directory, "--baselines", str(root)]) == 0
    place = baseline.path_of(root, last.fingerprint, last.model).parent
    shutil.rmtree(place)
    place.symlink_to("/proc/moegauge")
    kept = files(root)
    assert kept
    capsys.readouterr()
    assert accept.main([left(tmp_path / "later", renamed(finished, "later")), "--baselines", str(root)]) == 2
    captured = capsys.readouterr()
    assert re.match(rf"error: {re.escape(str(place))}/\S+\.json: cannot be written: ", captured.err)
    assert not captured.out
    assert files(root) == kept


def test_a_boot_counts_once(tmp_path, capsys, finished):
    first = finished.cells[0]
    twice = dataclasses.replace(
        finished, cells=(dataclasses.replace(first, boots=first.boots * 2), *finished.cells[1:])
    )
    assert accept.main([left(tmp_path / "run", twice), "--baselines", str(tmp_path / "baselines")]) == 2
    assert f"{first.id}: boot {first.boots[0].boot} is already in the baseline" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"candidate": "vllm 0.27"}, (), "two engines were compared; measure with pytest --update-baselines"),
        ({"replayed": True}, (), "it played back what was recorded"),
        ({}, ("--cells", "*/batch-1", "--cells", "vllm/none/*"), "matches 'vllm/none/*'"),
        ({"cells": ()}, (), "no valid boot of any cell"),
    ],
)
def test_what_cannot_be_a_baseline_is_refused(tmp_path, capsys, finished, changes, options, message):
    directory, root = left(tmp_path / "run", dataclasses.replace(finished, **changes)), tmp_path / "baselines"
    assert accept.main([directory, "--baselines", str(root), *options]) == 2
    assert message in capsys.readouterr().err
    assert not root.exists()


def test_a_fingerprint_names_no_path(tmp_path, capsys, finished):
    blocks = tuple(
        dataclasses.replace(b, fingerprint=b.fingerprint | {"engine": "../../vllm"}) for b in finished.blocks
    )
    directory = left(tmp_path / "run", dataclasses.replace(finished, blocks=blocks))
    assert accept.main([directory, "--baselines", str(tmp_path / "baselines")]) == 0
    assert not (tmp_path / "vllm-tp1-dummy").exists()
    assert {path.parent.name for path in (tmp_path / "baselines").rglob("*.json")} == {"..-..-vllm-tp1-dummy"}


def test_a_run_that_left_nothing_is_named(tmp_path, capsys):
    assert accept.main([str(tmp_path)]) == 2
    assert "name the directory of a run" in capsys.readouterr().err


@pytest.mark.parametrize("kind", get_args(Kind))
def test_cells_of_every_kind_have_a_duration(tmp_path, finished, kind):
    """Seconds of a round, or of a request, whatever is measured once."""
    first = finished.cells[0]
    observed = {metric.name: (2.0,) for metric in metrics_of(kind)}
    alone = dataclasses.replace(first, boots=(dataclasses.replace(first.boots[0], repetitions=observed),))
    night = dataclasses.replace(finished, cells=(alone,))
    root = tmp_path / "baselines"
    assert accept.main([left(tmp_path / "run", night), "--baselines", str(root)]) == 0
    (path,) = root.rglob("*.json")
    expected = {"capacity": 0.5, "energy": 1.0}.get(kind, 2.0)
    assert json.loads(path.read_text())["benchmarks"][0]["stats"]["data"] == [expected]
