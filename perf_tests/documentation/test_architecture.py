"""The diagram of docs/architecture.md, held against the imports of ``fixtures/``."""

import ast
import functools
import re
import sys

import pytest

from perf_tests.paths import ROOT

pytestmark = pytest.mark.cpu
FIXTURES = ROOT / "fixtures"
# For everybody; they are in no diagram.
COMMON = {"command", "errors", "decode", "redact"}
NETWORK = {
    "asyncio",
    "ftplib",
    "httptools",
    "http",
    "select",
    "selectors",
    "smtplib",
    "socket",
    "socketserver",
    "ssl",
    "urllib",
    "uvloop",
}
IMPURE = NETWORK | {"ctypes", "multiprocessing", "psutil", "pynvml", "pytest", "subprocess"}
ENGINES = {"torch", "vllm", "sglang", "transformers"}


@functools.cache
def imported() -> dict[str, set[str]]:
    """By package the names that its files import, whole: of ours as ``fixtures.package``, of others the top one."""
    found: dict[str, set[str]] = {}
    for path in FIXTURES.rglob("*.py"):
        parts = path.relative_to(FIXTURES).with_suffix("").parts
        text = path.read_text()
        # What runs in an engine's process, and the names that commands once had.
        if "inside" in parts or parts == ("__init__",) or "import moved\n" in text:
            continue
        names = found.setdefault(parts[0], set())
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{path}: relative imports hide where they lead"
                assert node.module is not None
                modules = (
                    [f"{node.module}.{alias.name}" for alias in node.names]
                    if node.module == "fixtures"
                    else [node.module]
                )
            else:
                continue
            names |= {".".join(m.split(".")[:2]) if m.startswith("fixtures.") else m.split(".")[0] for m in modules}
    return found


def packages(names: set[str]) -> set[str]:
    return {name.partition(".")[2] for name in names if name.startswith("fixtures.")}


@functools.cache
def diagram() -> tuple[dict[str, set[str]], set[str]]:
    """The arrows from each package, and what is pure."""
    text = (ROOT / "docs" / "architecture.md").read_text()
    (mermaid,) = re.findall(r"```mermaid\n(.*?)```", text, re.DOTALL)
    arrows: dict[str, set[str]] = {}
    for source, targets in re.findall(r"^ *(\w+) --> (.+)$", mermaid, re.MULTILINE):
        arrows.setdefault(source, set()).update(target.strip() for target in targets.split("&"))
    (pure,) = re.findall(r"subgraph pure\n(.*?)end", mermaid, re.DOTALL)
    return arrows, set(pure.split())


def reached(graph: dict[str, set[str]], start: str) -> set[str]:
    """What can be reached from a package, itself only on a circle."""
    found: set[str] = set()
    ahead = list(graph.get(start, ()))
    while ahead:
        package = ahead.pop()
        if package not in found:
            found.add(package)
            ahead += graph.get(package, ())
    return found


def test_packages_import_as_the_diagram_says():
    imports = {
        package: packages(names) - {package} - COMMON for package, names in imported().items() if package not in COMMON
    }
    arrows, _ = diagram()
    assert set(imports) == set(arrows) | {target for targets in arrows.values() for target in targets}
    for package, others in imports.items():
        against = others - reached(arrows, package)
        assert not against, f"{package} imports {against}, which no arrows lead to"
        idle = arrows.get(package, set()) - others
        assert not idle, f"{package} has arrows to {idle}, which it doesn't import"


def test_imports_run_in_one_direction_and_the_diagram_says_nothing_twice():
    arrows, _ = diagram()
    for package, targets in arrows.items():
        assert package not in reached(arrows, package), f"a circle through {package}"
        for target in targets:
            others = set().union(*(reached(arrows, other) for other in targets - {target}))
            assert target not in others, f"{package} --> {target} follows from the other arrows"


def test_what_is_for_everybody_leans_on_nobody():
    for package in COMMON:
        assert packages(imported()[package]) <= COMMON


def test_what_is_pure_is_pure():
    arrows, pure = diagram()
    assert pure
    for package in pure:
        assert reached(arrows, package) <= pure, f"{package} leans on what isn't"
        assert not imported()[package] & IMPURE, f"{package} imports {imported()[package] & IMPURE}"
    assert imported()["engines"] & IMPURE, "the check sees what isn't pure"


def test_only_the_plugin_knows_pytest_and_nothing_knows_an_engine():
    for package, names in imported().items():
        assert ("pytest" in names) == (package == "plugin"), package
        assert not names & ENGINES, f"{package} imports {names & ENGINES}"


def test_what_is_imported_is_a_dependency():
    declared = (ROOT / "pyproject.toml").read_text().lower()
    packages = {
        "pynvml": "nvidia-ml-py",
        "pytest_benchmark": "pytest-benchmark",
        "otava": "apache-otava",
        "markupsafe": "jinja2",
    }
    used = {name for names in imported().values() for name in names if not name.startswith("fixtures")}
    for name in used - set(sys.stdlib_module_names):
        assert f'"{packages.get(name, name)}' in declared, f"{name} is imported and not declared"


def test_every_package_is_described():
    page = (ROOT / "docs" / "architecture.md").read_text()
    for package in set(imported()) - COMMON:
        name = f"{package}.py" if (FIXTURES / f"{package}.py").exists() else f"{package}/"
        assert f"| [`{name}`](../fixtures/{name.rstrip('/')}) |" in page, package
    for package in COMMON:
        assert f"`{package}.py`" in page
