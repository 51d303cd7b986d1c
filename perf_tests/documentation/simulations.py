"""The long simulations of the gate: what docs/gate.md prints of them, and the figure of the trade-off.

They take minutes, so that a check doesn't repeat them. ``simulations.json`` says with which rule each was made, as a digest of
the code that judges and simulates, and what came out; short runs with the same seeds are among the golden texts.
"""

import ast
import concurrent.futures
import contextlib
import hashlib
import io
import json
import re
import shlex
from pathlib import Path

from fixtures.report.figures import svg
from fixtures.store.files import write_atomically
from fixtures.studies.gate.__main__ import main as study
from perf_tests.documentation import figures
from perf_tests.paths import ROOT

PAGE = ROOT / "docs" / "gate.md"
FIGURE = figures.DIRECTORY / "gate-trade-off.svg"
RECORD = Path(__file__).with_name("simulations.json")
# What decides the outcome of a simulation.
RULE = (ROOT / "fixtures" / "gate", ROOT / "fixtures" / "studies" / "gate")
PLACES = {str(path.relative_to(ROOT)) for path in (PAGE, FIGURE)}
# Digests of the rule and of the outcome, by where the outcome stands.
# Beside the rule, in the first of these: what compares files, which no simulation runs.
NOT_SIMULATED = ("__main__.py", "comparison.py", "differences.py", "results.py")
Record = dict[str, list[str]]
_BLOCK = re.compile(r"(```text\n\$ python -m fixtures\.studies\.gate ([^(\n]+?)(?: +\([^\n]*)?\n)(.*?)(```)", re.DOTALL)


def stale() -> list[str]:
    """What was made with another rule, or is not what the simulation printed, a line each."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    return differences(record, PAGE.read_text(encoding="utf-8"), FIGURE.read_text(encoding="utf-8"), digest_of_rule())


def differences(record: Record, page: str, figure: str, rule: str) -> list[str]:
    """What the record doesn't say of the texts and the rule."""
    now = recorded(page, figure, rule)
    return [
        f"{place}: {'made with another rule' if record.get(place, ['', ''])[0] != rule else 'not what the simulation gave'}"
        for place in now
        if record.get(place) != now[place]
    ]


def recorded(page: str, figure: str, rule: str) -> Record:
    """The record of what the page prints and of the figure, made with a rule. Raises LookupError for a page without any."""
    if not (blocks := _blocks(page)):
        raise LookupError(f"{PAGE.name}: no simulation is printed there")
    outcomes = {f"{_name(PAGE)}: {arguments}": text for arguments, text in blocks.items()} | {_name(FIGURE): figure}
    return {place: [rule, digest(text)] for place, text in outcomes.items()}


def write() -> list[str]:
    """Run all of them, one on each core; returns the names of what was written."""
    page, rule = PAGE.read_text(encoding="utf-8"), digest_of_rule()
    with concurrent.futures.ProcessPoolExecutor() as pool:
        printed = {arguments: pool.submit(run, arguments) for arguments in _blocks(page)}
        drawn = pool.submit(draw)
        page = _BLOCK.sub(lambda found: f"{found[1]}{printed[found[2]].result()}{found[4]}", page)
        figure = drawn.result()
    written = {PAGE: page, FIGURE: figure, RECORD: json.dumps(recorded(page, figure, rule), indent=1) + "\n"}
    for path, text in written.items():
        write_atomically(path, text)
    return [_name(path) for path in written]


def run(arguments: str) -> str:
    """What a simulation prints, as docs/gate.md has it."""
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        status = study(shlex.split(arguments))
    assert status == 0, arguments
    lines = text.getvalue().splitlines(keepends=True)
    # At a CV of 1% nothing hangs on the evidence that is asked for.
    return "".join(line for line in lines if not re.match(r"1% +\d+ +(?!1\.0 )[\d.]+ ", line))


def draw() -> str:
    """The figure of the trade-off."""
    return svg(figures.trade_off())


def _blocks(page: str) -> dict[str, str]:
    """What the page prints of each simulation, by its arguments."""
    return {found[2]: found[3] for found in _BLOCK.finditer(page)}


def _name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def digest(text: str) -> str:
    """A short digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def digest_of_rule(directories: tuple[Path, ...] = RULE) -> str:
    """A digest of all code in the directories, but for comments, docstrings, layout and what ``--help`` prints."""
    files = [
        path
        for directory in directories
        for path in sorted(directory.rglob("*.py"))
        if directory != directories[0] or path.name not in NOT_SIMULATED
    ]
    return digest("\n".join(f"{path.name} {_code(ast.parse(path.read_text(encoding='utf-8')))}" for path in files))


def _code(node: object) -> str:
    """A syntax tree as text: the same under every version of Python, because what is empty or implied is left out."""
    if isinstance(node, list):
        return f"[{' '.join(map(_code, node))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = dict(ast.iter_fields(node))
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
        fields["body"] = node.body[1:]
    if isinstance(node, ast.Call):
        fields["keywords"] = [one for one in node.keywords if one.arg not in ("help", "description")]
    kept = {name: value for name, value in fields.items() if value not in (None, []) and name not in ("ctx", "kind")}
    return f"({type(node).__name__} {' '.join(f'{name}={_code(value)}' for name, value in kept.items())})"
