"""Links and commands of README, SECURITY and ``docs/``: every one must lead somewhere. Needs no network.

    python -m perf_tests.documentation.links [PAGE ...]

Links to files and headings are followed, those to other sites are not. Of commands (lines after ``$`` in a block, and code
in a sentence) the tox environments, modules, options and markers must exist.
"""

import configparser
import functools
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

from fixtures.engines import environment
from fixtures.plugin.hooks import MARKERS
from perf_tests.paths import ROOT

_FENCE = re.compile(r" *(`{3,}|~{3,})")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_COMMAND = re.compile(r"(?:tox|pytest|python -m) ")
# Modules of others that a page may run.
_OTHERS = ("pip", "venv")
# Words of a marker expression that name no marker.
_OPERATORS = {"and", "or", "not"}


def pages() -> list[Path]:
    """The pages that are checked."""
    return [ROOT / "README.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").glob("*.md"))]


def complaints(page: Path) -> list[str]:
    """``FILE:LINE: what is wrong``, for everything on a page that leads nowhere."""
    name = page.relative_to(ROOT) if page.is_relative_to(ROOT) else page.name
    found = []
    for number, line, fenced in _lines(page):
        targets = [] if fenced else _LINK.findall(re.sub(r"`[^`]*`", "", line))
        commands = line.partition("$ ")[2].split(" && ") if fenced and line.lstrip().startswith("$ ") else []
        if not fenced:
            commands = [code for code in re.findall(r"`([^`]+)`", line) if _COMMAND.match(code)]
        wrong = [_link(page, target) for target in targets]
        wrong += [problem for command in commands for problem in _command(command)]
        found += [f"{name}:{number}: {problem}" for problem in wrong if problem]
    return found


def _lines(page: Path) -> Iterator[tuple[int, str, bool]]:
    """Number, text and whether it is in a block of code, of each line that is no fence."""
    fence = ""
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if found := _FENCE.match(line):
            if not fence:
                fence = found[1]
                continue
            if line.strip().startswith(fence):
                fence = ""
                continue
        yield number, line, bool(fence)


# -- links -----------------------------------------------------------------------------------------------------------------


def _link(page: Path, target: str) -> str:
    if re.match(r"[a-z][a-z0-9+.-]*:", target):
        return ""
    path, _, anchor = target.partition("#")
    file = page.parent / unquote(path) if path else page
    if not file.exists():
        return f"no such file: {target}"
    if anchor and file.suffix == ".md" and anchor not in anchors(file):
        return f"no such heading: {target}"
    return ""


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: dict[str, int] = {}
    for _, line, fenced in _lines(page):
        if not fenced and (heading := re.match(r"#{1,6} +(.*?)[ #]*$", line)):
            text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1])
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found[slug] = found.get(slug, -1) + 1
            if found[slug]:
                found[f"{slug}-{found[slug]}"] = 0
    return set(found)


# -- commands --------------------------------------------------------------------------------------------------------------


def _command(text: str) -> Iterator[str]:
    try:
        words = shlex.split(text, comments=True)
    except ValueError as error:
        yield f"not a command: {text}: {error}"
        return
    while words and re.fullmatch(r"\w+=.*", words[0]):
        words = words[1:]
    if not words:
        return
    if words[0] == "tox":
        yield from _tox(words[1:])
    elif words[0] == "pytest":
        yield from _pytest(words[1:])
    elif words[:3] == ["python", "-m", "pytest"]:
        yield from _pytest(words[3:])
    elif words[:2] == ["python", "-m"] and len(words) > 2:
        yield from _module(words[2], words[3:])
    for word, file in zip(words, words[1:], strict=False):
        if word == "-r" and "pip" in words[:4] and not (ROOT / file).is_file():
            yield f"no such requirements: {file}"


def _tox(words: list[str]) -> Iterator[str]:
    own, given = (words, []) if "--" not in words else (words[: words.index("--")], words[words.index("--") + 1 :])
    if "-e" not in own:
        return
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini")
    for name in own[own.index("-e") + 1].split(","):
        if f"testenv:{name}" not in tox:
            yield f"no such tox environment: {name}"
            continue
        programs = [line for line in tox[f"testenv:{name}"]["commands"].splitlines() if "{posargs}" in line]
        if given and not programs:
            yield f"tox -e {name} takes no options"
        if given and programs:  # the last one is what the options are for; those before it ignore what isn't theirs
            yield from _command(shlex.join([*shlex.split(programs[-1])[:-1], *given]))


def _pytest(words: list[str]) -> Iterator[str]:
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("--") and option not in _pytest_options():
            yield f"no such option of pytest: {option}"
    if "-m" in words:
        for name in re.findall(r"\w+", words[words.index("-m") + 1]):
            if name not in _OPERATORS | {re.split(r"\W", marker)[0] for marker in MARKERS}:
                yield f"no such marker: {name}"


@functools.cache
def _pytest_options() -> set[str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return set(re.findall(r"(?<![\w-])--[a-z][\w-]*", done.stdout))


def _module(module: str, words: list[str]) -> Iterator[str]:
    if module in _OTHERS:
        return
    path = ROOT / Path(*module.split("."))
    files = [file for file in (path.with_suffix(".py"), path / "__main__.py") if file.is_file()]
    if not files:
        yield f"no such module: {module}"
        return
    source = files[0].read_text(encoding="utf-8")
    if "__main__" not in source:
        yield f"{module} is no command"
    if "add_engine_env(parser)" in source:
        source += inspect.getsource(environment.add_engine_env)
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("--") and f'"{option}"' not in source and option != "--help":
            yield f"no such option of {module}: {option}"


def main(arguments: list[str]) -> int:
    """Run the command; returns its exit status."""
    checked = [Path(argument) for argument in arguments] or pages()
    found = [problem for page in checked for problem in complaints(page)]
    print("\n".join(found) or f"{len(checked)} pages: every link and command leads somewhere")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
