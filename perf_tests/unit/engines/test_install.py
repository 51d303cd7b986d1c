"""Building an engine's environment with a real pip, from wheels in a directory and without a network."""

import sys
import zipfile

import pytest

from fixtures.engines import install
from fixtures.errors import EngineError

pytestmark = pytest.mark.cpu


def wheel(directory, name, version="1.0"):
    with zipfile.ZipFile(directory / f"{name}-{version}-py3-none-any.whl", "w") as file:
        info = f"{name}-{version}.dist-info"
        file.writestr(f"{name}.py", "")
        file.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{info}/RECORD", "")


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


def test_a_package_of_which_pip_did_not_write_the_record_is_missing(place):
    one = place / "lib" / "python3.11" / "site-packages" / "First.One-1.0+cpu.dist-info"
    one.mkdir(parents=True)
    wanted = [install._requirement("first-one==1.0")]
    assert install._missing(place, wanted) == wanted
    (one / "RECORD").touch()
    assert install._missing(place, wanted) == []
    assert install._missing(place, [install._requirement("first-one==1.1")])
