"""Files are written wholly or not at all, one alone and several together."""

import os
import stat
from pathlib import Path

import pytest

from fixtures.errors import UsageError
from fixtures.store.files import append_lines, write_all, write_atomically

pytestmark = pytest.mark.cpu


@pytest.fixture
def three(tmp_path):
    """Three files, each in a directory of its own, of which the second does not exist yet; and new texts for all."""
    paths = [tmp_path / name / "file.json" for name in "abc"]
    for path in paths[::2]:
        path.parent.mkdir()
        path.write_bytes(b"old of " + path.parent.name.encode())
    return {path: f"new of {path.parent.name}" for path in paths}


def contents(directory):
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def test_all_are_written_and_nothing_else_is_left(tmp_path, three):
    write_all(three)
    assert contents(tmp_path) == {f"{name}/file.json": f"new of {name}".encode() for name in "abc"}
    assert stat.S_IMODE((tmp_path / "a" / "file.json").stat().st_mode) == 0o644


def test_a_directory_that_cannot_be_made_leaves_every_file_as_it_was(tmp_path, three):
    (tmp_path / "c" / "file.json").unlink()
    (tmp_path / "c").rmdir()
    (tmp_path / "c").write_text("a file")
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"c/file\.json: cannot be written: .*; make room or name another directory"):
        write_all(three)
    assert contents(tmp_path) == before


def test_a_directory_that_nobody_may_write_to_leaves_every_file_as_it_was(tmp_path, three):
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=r"/proc/moegauge/file\.json: cannot be written: "):
        write_all(three | {Path("/proc/moegauge/file.json"): "new"})
    assert contents(tmp_path) == before


@pytest.mark.parametrize("failing", "abc")
@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), KeyboardInterrupt()], ids=["disk", "Ctrl-C"])
def test_what_fails_half_way_is_put_back(tmp_path, three, monkeypatch, failing, error):
    before, replace = contents(tmp_path), os.replace

    def fails_once(source, target):
        if target == tmp_path / failing / "file.json" and target not in failed:
            failed.append(target)
            raise error
        replace(source, target)

    failed = []
    monkeypatch.setattr(os, "replace", fails_once)
    with pytest.raises(UsageError if isinstance(error, OSError) else KeyboardInterrupt) as caught:
        write_all(three)
    assert failed
    assert contents(tmp_path) == before
    if isinstance(error, OSError):
        assert f"{failing}/file.json: cannot be written: Input/output error" in str(caught.value)


def test_a_link_is_followed_and_stays(tmp_path):
    (tmp_path / "link").symlink_to("target")
    write_atomically(tmp_path / "link", "text")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "text"


def test_lines_are_appended_and_a_torn_one_is_ended(tmp_path):
    path = tmp_path / "a" / "lines"
    append_lines(path, ["1", "2"])
    with path.open("a") as file:
        file.write("to")
    append_lines(path, ["3"])
    assert path.read_text() == "1\n2\nto\n3\n"
    with pytest.raises(UsageError, match="cannot be written: Is a directory"):
        append_lines(tmp_path, ["4"])
