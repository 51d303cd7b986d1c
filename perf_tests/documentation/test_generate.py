"""The command that writes everything that is generated. That nothing is stale, test_evidence.py asks it."""

import pytest

from perf_tests.documentation import generate, simulations
from perf_tests.documentation.generate import Part, main

pytestmark = pytest.mark.cpu


@pytest.fixture
def parts(monkeypatch, tmp_path):
    """A file of data, and a page that is twice as long as it."""
    data, page = tmp_path / "data.toml", tmp_path / "page.md"
    data.write_text("old")
    monkeypatch.setattr(generate, "ROOT", tmp_path)
    monkeypatch.setattr(generate, "DATA", (Part(data, lambda text: text.replace("old", "newer")),))
    monkeypatch.setattr(generate, "PAGES", (Part(page, lambda _: data.read_text() * 2),))
    monkeypatch.setattr(generate, "TEXTS", ())
    monkeypatch.setattr(generate, "NAMES", {"data.toml", "page.md"})
    monkeypatch.setattr(simulations, "stale", list)
    return data, page


@pytest.fixture
def restarts(monkeypatch):
    """The arguments with which the command began anew."""
    found = []

    def begin_anew(program, arguments):
        found.append(arguments[1:])
        raise SystemExit

    monkeypatch.setattr("os.execv", begin_anew)
    return found


def test_a_check_names_what_is_stale_and_writes_nothing(parts, capsys):
    assert main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines() == [
        "data.toml: stale",
        "page.md: stale",
        "run python -m perf_tests.documentation.generate",
    ]
    assert parts[0].read_text() == "old"
    assert not parts[1].exists()
    assert main(["--check", "page.md"]) == 1
    assert "data.toml" not in capsys.readouterr().out


def test_what_is_stale_is_written_and_data_before_what_is_read_of_it(parts, restarts, capsys):
    with pytest.raises(SystemExit):
        main([])
    assert restarts == [["-m", "perf_tests.documentation.generate"]]
    assert parts[0].read_text() == "newer"
    assert not parts[1].exists()
    assert main([]) == 0
    assert parts[1].read_text() == "newernewer"
    assert capsys.readouterr().out.splitlines() == ["data.toml: written", "page.md: written"]
    assert main(["--check"]) == 0
    assert capsys.readouterr().out == "nothing is stale\n"
    assert len(restarts) == 1


def test_simulations_are_run_if_they_are_stale(parts, monkeypatch, capsys):
    parts[0].write_text("")
    parts[1].write_text("")
    monkeypatch.setattr(simulations, "stale", lambda: ["gate.md: made with another rule"])
    monkeypatch.setattr(simulations, "write", lambda: ["gate.md"])
    assert main(["--check"]) == 1
    assert capsys.readouterr().out.splitlines()[0] == "gate.md: made with another rule"
    assert main(["page.md"]) == 0
    assert capsys.readouterr().out == ""
    assert main([]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "gate.md: written"


def test_a_file_in_which_nothing_is_generated_is_named(capsys):
    assert main(["--check", "LICENSE"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: nothing is generated in LICENSE; known are README.md, baselines/README.md, docs/")
