"""What SECURITY.md promises of the code: where servers listen, what is never executed, what is hidden from reports."""

import ast
import json
from collections.abc import Iterator

import pytest

from fixtures.deployments.deployment import load, shipped
from fixtures.engines.engine import BootSpec
from fixtures.engines.registry import ENGINES
from fixtures.redact import redacted
from fixtures.store import logs
from perf_tests.paths import ROOT
from perf_tests.tools import audit

pytestmark = pytest.mark.cpu
CODE = sorted((ROOT / "fixtures").rglob("*.py"))
# What runs or unpickles what it is given.
BUILTINS = {"eval", "exec", "compile", "__import__"}
MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}
# What a client and the processes that it started tell each other, over pipes that nobody else has.
BETWEEN_OWN_PROCESSES = {"fixtures/client/worker.py", "fixtures/client/worker_process.py"}
ATTRIBUTES = {
    "os.system",
    "os.popen",
    "subprocess.getoutput",
    "subprocess.getstatusoutput",
    "asyncio.create_subprocess_shell",
    "yaml.load",
    "yaml.load_all",
    "yaml.unsafe_load",
    "yaml.full_load",
    "pd.read_pickle",
    "pandas.read_pickle",
}
KEYWORDS = {"shell", "allow_pickle", "trust_remote_code"}


def dangers(source: str) -> Iterator[str]:
    """What in the source executes data, with its line."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (f"{node.lineno}: {alias.name}" for alias in node.names if alias.name.split(".")[0] in MODULES)
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            if (node.module or "").split(".")[0] in MODULES or names & ATTRIBUTES:
                yield f"{node.lineno}: from {node.module}"
        elif isinstance(node, ast.Name) and node.id in BUILTINS:
            yield f"{node.lineno}: {node.id}"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) in ATTRIBUTES:
            yield f"{node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.Call):
            given = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            yield from (f"{node.lineno}: {name}" for name in KEYWORDS if given.get(name, "False") != "False")
            if ast.unparse(node.func) == "torch.load" and given.get("weights_only") != "True":
                yield f"{node.lineno}: torch.load"


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "exec(text)",
        "f = eval",
        "compile(text, '', 'exec')",
        "import pickle",
        "import os, pickle as p",
        "from pickle import loads",
        "import marshal",
        "yaml.load(file)",
        "from yaml import load",
        "np.load(file, allow_pickle=True)",
        "np.load(file, allow_pickle=flag)",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
        "torch.load(file)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "pd.read_pickle(path)",
    ],
)
def test_what_executes_data_is_recognised(source):
    assert list(dangers(source))


@pytest.mark.parametrize(
    "source",
    [
        "model.eval()",
        "re.compile(text)",
        "np.load(file, allow_pickle=False)",
        "subprocess.run([program])",
        "ast.literal_eval(text)",
        "torch.load(file, weights_only=True)",
    ],
)
def test_what_does_not_is_left_alone(source):
    assert not list(dangers(source))


def test_nothing_that_is_read_is_executed():
    read = [path for path in CODE if path.relative_to(ROOT).as_posix() not in BETWEEN_OWN_PROCESSES]
    found = [f"{path.relative_to(ROOT)}:{where}" for path in read for where in dangers(path.read_text())]
    assert len(CODE) > 50
    assert not found


def commands(*options: str) -> Iterator[tuple[str, list[str]]]:
    """The command lines of every shipped deployment's servers, with further options."""
    for name in shipped():
        deployment = load(name, ENGINES)
        for engine in deployment.engines:
            for entry in deployment.models:
                for weights, profile, routing in (
                    ("dummy", "", False),
                    ("random", "", False),
                    ("real", "", False),
                    ("dummy", "/traces", True),
                ):
                    spec = BootSpec(
                        "/models/m",
                        "m",
                        weights,
                        "cuda" if deployment.needs_gpu else "cpu",
                        1,
                        deployment.dtype,
                        deployment.max_model_len,
                        2**30,
                        deployment.options(engine, entry.name) + options,
                        profile,
                        routing,
                        kv_cache_tokens=2**13,
                    )
                    yield f"{name}: {engine}: {entry.name}", ENGINES[engine].command("python", spec, 8123)


@pytest.mark.parametrize("options", [(), ("--host", "0.0.0.0"), ("--host=::",)])
def test_servers_listen_on_the_loopback_interface_whatever_a_deployment_says(options):
    for where, command in commands(*options):
        # The last one counts.
        hosts = [i for i, text in enumerate(command) if text.startswith("--host")]
        assert command[hosts[-1] : hosts[-1] + 2] == ["--host", "127.0.0.1"], where
        assert len(hosts) == 1 + bool(options), where


def test_code_of_a_model_is_never_trusted():
    for where, command in commands():
        assert not [text for text in command if "trust" in text], where
    for path in CODE:
        assert "trust_remote_code" not in path.read_text(), path
        assert "trust-remote-code" not in path.read_text(), path


SECRET = "hf_AbCdEf0123456789"


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        (f"a {SECRET} b", {"HF_TOKEN": SECRET}, "a *** b"),
        (f"a {SECRET} b", {"my_api_key": SECRET}, "a *** b"),
        (f"a {SECRET} b", {"HOME": SECRET}, f"a {SECRET} b"),
        ("is true", {"TOKENIZERS_PARALLELISM": "true", "SOME_KEY": "true", "EMPTY_KEY": ""}, "is true"),
        ("warming tokenizer-cache", {"TOKENIZER_HOME": "tokenizer-cache"}, "warming tokenizer-cache"),
        (f"{SECRET}-more {SECRET}", {"A_KEY": SECRET, "B_KEY": f"{SECRET}-more"}, "*** ***"),
        (f"HF_TOKEN={SECRET} HOME=/root", {}, "HF_TOKEN=*** HOME=/root"),
        (f"{{'VLLM_API_KEY': '{SECRET}', 'A': 'b'}}", {}, "{'VLLM_API_KEY': '***', 'A': 'b'}"),
        (
            "max_num_batched_tokens=16384000 VLLM_MAX_TOKENS=8192",
            {},
            "max_num_batched_tokens=16384000 VLLM_MAX_TOKENS=8192",
        ),
        ("TOKENIZERS_PARALLELISM=somewhere", {}, "TOKENIZERS_PARALLELISM=somewhere"),
    ],
)
def test_secrets_are_hidden_and_nothing_else(text, environment, expected):
    assert redacted(text, environment) == expected


def test_the_end_of_a_log_is_read_without_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "01-a.log").write_text(f"starting\n\x1b[31mwith {SECRET[:5]}\x1b[0m{SECRET[5:]}\n")
    (log,) = logs.tails(tmp_path)
    assert log.tail == "starting\nwith ***"


PACKAGES = [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not found"}]
BAD = {"name": "c", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}


@pytest.mark.parametrize(
    ("packages", "errors", "expected"),
    [
        (PACKAGES, "", (0, "1 packages audited, 0 vulnerabilities; unknown to the database: b")),
        ([BAD], "", (1, "c 2: CVE-1, fixed in 3\n1 packages audited, 1 vulnerabilities")),
        (PACKAGES[1:], "", (0, "audit skipped, the database of vulnerabilities knows none of 1 packages: a mirror?")),
        (
            None,
            "a\nMax retries exceeded",
            (0, "audit skipped, the database of vulnerabilities cannot be reached: Max retries exceeded"),
        ),
        (None, "invalid requirements", (1, "pip-audit failed: invalid requirements")),
        (None, "", (1, "pip-audit failed: pip-audit said nothing")),
    ],
)
def test_an_audit_fails_for_a_vulnerability_and_not_for_want_of_a_network(packages, errors, expected):
    output = "" if packages is None else json.dumps({"dependencies": packages})
    assert audit.outcome(output, errors) == expected
