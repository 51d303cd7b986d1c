"""An environment whose Python does not run here, or does not see the engine: one line says where, and what mends it."""

import re
import subprocess
import sys

import pytest

from fixtures.engines.environment import Environment
from fixtures.errors import UsageError

pytestmark = pytest.mark.cpu
VERSION = f"python3.{sys.version_info.minor}"


@pytest.fixture
def directory(tmp_path):
    """A virtual environment that has an engine which must not be imported."""
    directory = tmp_path / "unpacked here" / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(directory)], check=True)
    site = directory / "lib" / VERSION / "site-packages" / "vllm"
    site.mkdir()
    (site / "__init__.py").write_text("raise RuntimeError")
    Environment(directory).check("vllm")
    return directory


def refused(directory):
    with pytest.raises(UsageError) as failed:
        Environment(directory).check("vllm")
    message = str(failed.value)
    assert "\n" not in message
    return message


def from_image(directory, python):
    """As an image has it: all links lead to a Python by its path there."""
    for link in (directory / "bin").glob("python*"):
        link.unlink()
    (directory / "bin" / "python3").symlink_to(python)
    (directory / "bin" / "python").symlink_to("python3")
    configuration = directory / "pyvenv.cfg"
    configuration.write_text(re.sub("(?m)^home = .*", f"home = {python.parent}", configuration.read_text()))


def mend(message):
    """Do as the message says, on a machine whose Python of that version is this one."""
    (remedy,) = re.findall("`(.*)`", message)
    assert f"; {VERSION} -m venv " in remedy
    subprocess.run(remedy.replace(f"; {VERSION} ", f"; {sys.executable} "), shell=True, check=True)


def test_a_link_to_the_images_python_is_named_and_the_remedy_mends_it(directory, tmp_path):
    from_image(directory, tmp_path / "opt" / "image" / VERSION)
    message = refused(directory)
    link = f"{directory}/bin/python3 is a link to {tmp_path}/opt/image/{VERSION}, which is not there"
    assert message.startswith(f"{directory}/bin/python does not start: {link}. ")
    mend(message)
    Environment(directory).check("vllm")
    assert Environment(directory).python == str(directory / "bin" / "python")


def test_a_python_without_its_library_is_named_and_the_remedy_mends_it(directory, tmp_path):
    """As where the image's interpreter was copied and what ``home`` names was not."""
    python = tmp_path / "opt" / "image" / "bin" / VERSION
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\necho 'Fatal Python error: no encodings' >&2\nexit 1\n")
    python.chmod(0o755)
    from_image(directory, python)
    message = refused(directory)
    assert message.startswith(f"{directory}/bin/python does not start: Fatal Python error: no encodings. ")
    mend(message)
    Environment(directory).check("vllm")


def test_a_python_of_another_version_does_not_see_the_engine(directory):
    lib = directory / "lib"
    (lib / VERSION).rename(lib / "python3.9")
    message = refused(directory)
    site = lib / "python3.9" / "site-packages"
    assert message.startswith(
        f"{directory}/bin/python, which is Python 3.{sys.version_info.minor}, finds no vllm although {site} has it"
    )
    assert "python3.9 -m venv --upgrade" in message


def test_an_environment_without_the_engine_is_told_how_to_build_it(directory):
    with pytest.raises(UsageError, match="^no sglang in .*: build it with"):
        Environment(directory).check("sglang")


def test_an_engine_that_is_installed_in_place_is_found(directory, tmp_path):
    """As ``pip install --editable`` leaves it: a path file, and no package among the others."""
    (tmp_path / "checkout" / "sglang").mkdir(parents=True)
    (tmp_path / "checkout" / "sglang" / "__init__.py").touch()
    (directory / "lib" / VERSION / "site-packages" / "sglang.pth").write_text(f"{tmp_path}/checkout\n")
    Environment(directory).check("sglang")


def test_a_directory_of_packages_is_for_the_suites_own_python(tmp_path):
    (tmp_path / "vllm").mkdir()
    Environment(tmp_path).check("vllm")
