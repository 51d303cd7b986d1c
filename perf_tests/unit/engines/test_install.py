"""Building an engine's environment with a real pip, from wheels in a directory and without a network."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fixtures.engines import install
from fixtures.errors import EngineError
from perf_tests.fakes.wheels import wheel

pytestmark = pytest.mark.cpu


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A lock of four packages, one of them for another system, two at a time; the wheels of two are there."""
    for name, value in (("ROOT", tmp_path), ("ENVIRONMENTS", tmp_path / ".engines"), ("LOCKS", tmp_path)):
        monkeypatch.setattr(install, name, value)
    monkeypatch.setattr(install, "TOGETHER", 2)
    (tmp_path / "mine.1.txt").write_text("# made by hand\nfirst-one==1.0\nsecond==1.0\n")
    (tmp_path / "mine.2.txt").write_text("third==1.0\nelsewhere==1.0 ; sys_platform == 'none'\n")
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel(wheels, "first_one")
    wheel(wheels, "second")
    for name in ("PIP_CONSTRAINT", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return tmp_path


def test_what_is_missing_is_named_and_a_build_goes_on_where_it_ended(place, capfd):
    with pytest.raises(EngineError, match=r"1 of 3 packages are missing: third\. .*PIP_FIND_LINKS.*goes on$"):
        install.install("mine")
    first = capfd.readouterr().out
    assert first.startswith("building .engines/mine: ten minutes or more, and up to 40 GB of disk with pip's cache; ")
    assert [line.partition(": ")[2] for line in first.splitlines()[1:]] == ["first-one, second", "third"]
    built = (place / ".engines" / "mine" / "pyvenv.cfg").stat().st_mtime_ns
    wheel(place / "wheels", "third")
    target = install.install("mine")
    second = capfd.readouterr().out
    assert second.startswith("going on with .engines/mine: ")
    assert [line.partition(": ")[2] for line in second.splitlines()[1:]] == ["third"]
    assert (target / "pyvenv.cfg").stat().st_mtime_ns == built
    (found,) = target.glob(f"lib/python3.{sys.version_info.minor}/site-packages/third.py")
    assert found.exists()
    install.install("mine")
    assert capfd.readouterr().out == ".engines/mine is up to date\n"


def test_a_package_that_pip_did_not_finish_is_missing(place):
    one = place / "lib" / "python3.11" / "site-packages" / "First.One-1.0+cpu.dist-info"
    one.mkdir(parents=True)
    (one / "RECORD").touch()
    wanted = [install._requirement("first-one==1.0")]
    assert install._missing(place, wanted) == wanted
    (one / "INSTALLER").touch()
    assert install._missing(place, wanted) == []
    assert install._missing(place, [install._requirement("first-one==1.1")])


def test_of_many_missing_packages_some_are_named_and_what_pip_left_half_installed_is_installed_again(
    place, monkeypatch
):
    monkeypatch.setattr(install, "NAMED", 1)
    monkeypatch.setenv("PIP_FIND_LINKS", str(place))
    with pytest.raises(
        EngineError, match=r"3 of 3 packages are missing: first-one and 2 others of mine\.\*\.txt\. pip"
    ):
        install.install("mine")
    wheel(place / "wheels", "third")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place / "wheels"))
    target = install.install("mine")
    (site,) = target.glob("lib/python3.*/site-packages")
    (target / install.STAMP).unlink()
    (site / "third-1.0.dist-info" / "INSTALLER").unlink()
    (site / "third.py").unlink()
    install.install("mine")
    assert (site / "third.py").exists()
    assert (site / "third-1.0.dist-info" / "INSTALLER").exists()


# Its pip can be stopped at a moment of our choosing: it says that it runs, and never ends.
BUILD = """
import sys
from pathlib import Path
from fixtures.engines import install
root = Path(sys.argv[1])
install.ROOT, install.ENVIRONMENTS, install.LOCKS = root, root / ".engines", root
pip = f"import os, time; open({str(root / 'pid')!r}, 'x').write(str(os.getpid())); time.sleep(600)"
install._fill = lambda target, stages, held: install.program.run([sys.executable, "-c", pip], [held])
install.install("mine")
"""


def build(place):
    root = Path(install.__file__).parents[2]
    return subprocess.Popen([sys.executable, "-c", BUILD, str(place)], cwd=root, stdout=subprocess.PIPE, text=True)


def until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] == b"Z"
    except FileNotFoundError:
        return True


def test_pip_ends_with_a_build_that_is_killed_and_the_next_goes_on(place, capfd):
    wheel(place / "wheels", "third")
    pid = place / "pid"
    with build(place) as first:
        until(lambda: pid.exists() and pid.read_text())
        os.kill(first.pid, signal.SIGKILL)
    install.install("mine")
    assert gone(int(pid.read_text()))
    assert "going on with .engines/mine: " in capfd.readouterr().out


def test_a_second_build_waits_for_the_first(place):
    target = place / ".engines" / "mine"
    with install._alone(target):
        second = build(place)
        assert second.stdout.readline() == "another process is building .engines/mine: waiting for it\n"
        assert second.poll() is None
        target.mkdir()
        digest = hashlib.sha256(b"".join((place / f"mine.{i}.txt").read_bytes() for i in (1, 2))).hexdigest()
        (target / install.STAMP).write_text(digest)
    assert second.communicate()[0] == ".engines/mine is up to date\n"
