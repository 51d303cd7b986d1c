"""Files that are cut, mistyped, damaged or not files: a line for the user, never a traceback, never a wrong verdict."""

import contextlib
import io
import json
import os
import tomllib
from pathlib import Path

import pytest
import tokenizers
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.analytical import __main__ as analytical
from fixtures.analytical.architecture import from_config
from fixtures.claims.ledger import LEDGER, ledger
from fixtures.deployments import deployment as deployments
from fixtures.deployments.cell import cells
from fixtures.engines.registry import ENGINES
from fixtures.errors import UsageError
from fixtures.gate import comparison
from fixtures.gate.verdict import Outcome
from fixtures.models.location import SHIPPED
from fixtures.models.model import Model
from fixtures.report import __main__ as report
from fixtures.session.judge import Judge
from fixtures.store import baseline
from fixtures.store import run as run_module
from fixtures.store.sample import SAMPLES
from fixtures.workloads import sharegpt
from fixtures.workloads.tokenizer import encoder
from perf_tests.documentation.faults import fault
from perf_tests.fakes.deployments import FAKE, load, toml
from perf_tests.fakes.judging import commit, judge_beside
from perf_tests.fakes.mutations import assert_one_line, damaged, misfilled
from perf_tests.fakes.samples import sample
from perf_tests.fakes.synthetic_run import synthetic_run
from perf_tests.paths import ROOT

LINE = "a usage error of one line before anything boots: the file and the place"
FOLLOWS = "a usage error of one line, or verdicts that follow from what the file says"
VALUES = {
    "startup": {"weight_memory": 1e7, "kv_capacity": 16384.0},
    "batch-1": {"latency": 0.055, "peak_memory": 1.7e7, "completed": 1.0, "output_tokens": 8.0},
    "batch-4": {"latency": 0.056, "peak_memory": 1.7e7, "completed": 4.0, "output_tokens": 32.0},
}
CLAIMS = "\n[[claim]]".join(LEDGER.read_text(encoding="utf-8").split("\n[[claim]]")[:4])


def measured(boot, cell):
    return sample(f"b{boot}", metrics=dict(VALUES[cell.workload.name]), provenance={"commit": "abc"})


class Judging:
    """A night that has measured exactly what its baseline holds: each verdict of a sound file is a pass."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self.root = directory / "baselines"
        self._deployment = load(directory, FAKE)
        self._cells = cells(self._deployment)
        self.path = self.write("abc")
        self.sound = json.loads(self.path.read_text())

    def write(self, of: str) -> Path:
        return commit(self.judge(), {cell: [measured(i, cell) for i in range(2)] for cell in self._cells}, of)

    def judge(self) -> Judge:
        return judge_beside(self._deployment, self._cells, self.root)

    def verdicts(self, data: bytes) -> dict[tuple[str, str], Outcome]:
        """The outcomes against a baseline of these bytes. Raises UsageError."""
        self.path.write_bytes(data)
        judge = self.judge()
        judge.read_baselines()
        judge.reference.judged.boots.update({cell: [measured(9, cell)] for cell in self._cells})
        trial = judge.trial(self._cells)
        return {
            (cell.id, metric.name): judge.verdict(cell, metric, trial).outcome
            for cell in self._cells
            for metric in judge.metrics(cell)
        }

    def check(self, data: bytes) -> None:
        """Whatever the bytes: an error of one line that names the file, or verdicts that follow from what they say."""
        try:
            found = self.verdicts(data)
        except UsageError as error:
            assert_one_line(error, self.path)
            return
        says = json.loads(data)
        same_fingerprint = says["machine_info"]["fingerprint"] == self.sound["machine_info"]["fingerprint"]
        entries = {entry["fullname"]: entry["extra_info"] for entry in says["benchmarks"]}
        for entry in self.sound["benchmarks"]:
            cell, own = entry["fullname"], entries.get(entry["fullname"])
            outcomes = {metric: outcome for (other, metric), outcome in found.items() if other == cell}
            if not same_fingerprint or own is None or own["workload"] != entry["extra_info"]["workload"]:
                assert set(outcomes.values()) == {Outcome.NO_BASELINE}
            elif own["boots"] == entry["extra_info"]["boots"]:
                assert set(outcomes.values()) == {Outcome.PASS}
            else:
                wrong = {
                    m
                    for m, o in outcomes.items()
                    if o is Outcome.REGRESSION and m not in ("completed", "output_tokens")
                }
                assert not any(all(b["metrics"].get(m) for b in own["boots"]) for m in wrong), "one boot proves nothing"


@pytest.fixture(scope="module")
def judging(tmp_path_factory):
    return Judging(tmp_path_factory.mktemp("files") / "judging")


@pytest.mark.cpu
def test_a_sound_baseline_passes(judging):
    assert set(judging.verdicts(json.dumps(judging.sound).encode()).values()) == {Outcome.PASS}


def text_of(judging):
    return json.dumps(judging.sound, indent=1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            lambda t: t.replace('"schema": 1', '"schema": 7'),
            "schema 7, this version reads 1",
            marks=fault("Files", "a baseline of an unknown version", LINE, quick=True),
        ),
        pytest.param(
            lambda t: t.replace('"latency": 0.055', '"latency": 0.055, "latency": 1', 1),
            "key 'latency' appears twice",
            marks=fault("Files", "a key twice", LINE, quick=True),
        ),
        pytest.param(
            lambda t: t.replace("0.055", "NaN", 1),
            "NaN is not a JSON number",
            marks=fault("Files", "NaN in a baseline", LINE, quick=True),
        ),
        pytest.param(
            lambda t: t.replace("0.055", "1e999", 1),
            "1e999 is too large",
            marks=fault("Files", "1e999", LINE, quick=True),
        ),
        pytest.param(
            lambda t: t.replace("0.055", "9" * 400, 1),
            "9999... is too large",
            marks=fault("Files", "an integer of 400 digits", LINE, quick=True),
        ),
        pytest.param(
            lambda t: t.replace("0.055", '"fast"', 1),
            "metrics.latency: expected a number, found 'fast'",
            marks=fault("Files", "a wrong type", LINE, quick=True),
        ),
        pytest.param(
            lambda t: t.replace('"hardware"', '"hard"'),
            "fingerprint.hardware: expected a string",
            marks=fault("Files", "a fingerprint without hardware", LINE, quick=True),
        ),
        pytest.param(
            lambda t: "[" * 100_000, "not valid JSON", marks=fault("Files", "lists nested too deeply", LINE, quick=True)
        ),
        pytest.param(lambda t: "", "not valid JSON", marks=fault("Files", "an empty file", LINE, quick=True)),
    ],
)
def test_a_damaged_baseline(judging, change, message):
    text = text_of(judging)
    assert change(text) != text
    with pytest.raises(UsageError) as caught:
        judging.verdicts(change(text).encode())
    assert message in str(caught.value)
    assert_one_line(caught.value, judging.path)


@fault("Files", "a baseline that is not UTF-8", LINE, quick=True)
def test_not_utf_8(judging):
    with pytest.raises(UsageError, match="not UTF-8 at byte 0"):
        judging.verdicts(b"\xff\xfe" + text_of(judging).encode())


@fault("Files", "a baseline cut at any byte", LINE)
def test_a_baseline_cut_anywhere(judging):
    text = text_of(judging).encode()
    for end in range(len(text.rstrip())):
        judging.path.write_bytes(text[:end])
        with pytest.raises(UsageError) as caught:
            baseline.read(judging.path)
        assert_one_line(caught.value, judging.path)


@fault("Files", "a symlink to a baseline", "read and written through, the link stays", "the link", quick=True)
def test_a_link_to_a_baseline(tmp_path):
    judging = Judging(tmp_path / "judging")
    target = judging.path.rename(tmp_path / "elsewhere.json")
    judging.path.symlink_to(target)
    judging.write("def")
    assert judging.path.is_symlink()
    assert json.loads(target.read_text())["commit_info"] == {"id": "def"}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        pytest.param(
            lambda path: path.symlink_to(path.parent / "nowhere"),
            "no such file",
            marks=fault("Files", "a symlink to nothing", f"{LINE}; not taken for no baseline", quick=True),
        ),
        pytest.param(
            lambda path: path.symlink_to(path),
            "cannot be read: Too many levels of symbolic links",
            marks=fault("Files", "a symlink to itself", f"{LINE}; not taken for no baseline", quick=True),
        ),
        pytest.param(
            lambda path: path.mkdir(),
            "cannot be read: Is a directory",
            marks=fault("Files", "a directory in a baseline's place", LINE, quick=True),
        ),
        pytest.param(
            os.mkfifo,
            "cannot be read: not a file",
            marks=fault("Files", "a pipe in a baseline's place", LINE, quick=True),
        ),
    ],
)
def test_what_is_no_file(tmp_path, make, message):
    path = tmp_path / "baseline.json"
    make(path)
    with pytest.raises(UsageError) as caught:
        baseline.read(path)
    assert message in str(caught.value)
    assert_one_line(caught.value, path)


@fault("Files", "a file where the baselines' directory should be", LINE, quick=True)
def test_a_file_in_place_of_the_directory(tmp_path):
    (tmp_path / "baselines").write_text("")
    with pytest.raises(UsageError, match="cannot be read: Not a directory"):
        baseline.read(tmp_path / "baselines" / "cpu" / "m.json")


@fault(
    "Files",
    "bytes of a baseline damaged (4000 mutations)",
    FOLLOWS,
)
def test_damaged_bytes_of_a_baseline(judging):
    @settings(max_examples=4000)
    @given(damaged(text_of(judging).encode()))
    def check(data):
        judging.check(data)

    check()


@fault(
    "Files",
    "values of a baseline replaced (2000 mutations)",
    FOLLOWS,
)
def test_misfilled_baselines(judging, tmp_path):
    sound = tmp_path / "sound.json"
    sound.write_text(json.dumps(judging.sound))

    @settings(max_examples=2000)
    @given(misfilled(judging.sound))
    def check(document):
        data = json.dumps(document).encode()
        judging.check(data)
        try:
            comparison.compare(sound, judging.path, {})
        except UsageError as error:
            assert_one_line(error, judging.path)

    check()


def load_deployment(path, data):
    path.write_bytes(data)
    try:
        deployments.load(str(path), ENGINES)
    except UsageError as error:
        assert_one_line(error, path)


@fault(
    "Files", "a deployment cut at any byte", "a usage error of one line, or what is before the cut, if that is whole"
)
def test_a_deployment_cut_anywhere(tmp_path):
    text = FAKE.encode()
    whole = [cell.workload.name for cell in cells(deployments.load(_written(tmp_path / "whole.toml", text), ENGINES))]
    for end in range(len(text)):
        path = tmp_path / "cut.toml"
        load_deployment(path, text[:end])
    names = [cell.workload.name for cell in cells(deployments.load(_written(path, text), ENGINES))]
    assert names == whole


@fault("Files", "bytes of a deployment damaged (2000 mutations)", "a usage error of one line, or a sound deployment")
def test_damaged_bytes_of_a_deployment(tmp_path):
    @settings(max_examples=2000)
    @given(damaged(FAKE.encode()))
    def check(data):
        load_deployment(tmp_path / "damaged.toml", data)

    check()


@fault("Files", "values of a deployment replaced (1000 mutations)", "a usage error of one line, or a sound deployment")
def test_misfilled_deployments(tmp_path):
    @settings(max_examples=1000)
    @given(misfilled(tomllib.loads(FAKE)))
    def check(document):
        load_deployment(
            tmp_path / "misfilled.toml",
            "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in document.items()).encode(),
        )

    check()


@fault("Files", "bytes of the claims' ledger damaged (1000 mutations)", "a usage error of one line, or sound claims")
def test_damaged_bytes_of_the_ledger(tmp_path):
    path = tmp_path / "ledger.toml"

    @settings(max_examples=1000)
    @given(damaged(CLAIMS.encode()), st.floats(-1e9, 1e9))
    def check(data, value):
        path.write_bytes(data)
        ledger.cache_clear()
        try:
            claims = ledger(path)
        except UsageError as error:
            assert_one_line(error, path)
            return
        for claim in claims.values():
            if claim.value is not None:
                claim.admits(value)

    check()


# A family whose every key counts, with layers of both kinds.
QWEN_MOE = {
    "model_type": "qwen2_moe",
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "vocab_size": 1000,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "num_experts": 8,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "shared_expert_intermediate_size": 48,
    "decoder_sparse_step": 2,
    "mlp_only_layers": [1],
    "use_sliding_window": True,
    "max_window_layers": 2,
    "sliding_window": 128,
    "qkv_bias": True,
    "attention_bias": False,
    "tie_word_embeddings": False,
    "quantization_config": {"quant_method": "fp8"},
}
# Families whose layers differ in more than one way, of those that transformers and vLLM were asked for.
PUBLISHED = ROOT / "perf_tests" / "analytical" / "published.json"
NEWER = ("DeepSeek-V3.2", "DeepSeek-V4-Flash", "gemma-4-26B-A4B, text alone", "gemma-4-E2B, text alone")
CONFIGS = {
    "mixtral": json.loads((SHIPPED / "mixtral-8x7b-twin" / "config.json").read_text()),
    "llama": json.loads((SHIPPED / "llama-3.1-8b" / "config.json").read_text()),
    "qwen2_moe": QWEN_MOE,
    **{name: json.loads(PUBLISHED.read_text())["models"][name]["config"] for name in NEWER},
}
SOUND_MODEL = "a usage error of one line, or another fingerprint where it describes another model"


class Configuration:
    """A model's directory, and what its undamaged configuration says."""

    def __init__(self, directory, config):
        self.directory, self.path = directory, directory / "config.json"
        self.sound = self.load(json.dumps(config).encode())
        self.architecture = from_config(self.sound.config, "sound")

    def load(self, data):
        self.path.write_bytes(data)
        return Model.load(f"{self.directory}/", "--model")

    def check(self, data):
        """An error of one line that names the file, or a model that differs from the sound one by its shape."""
        try:
            model = self.load(data)
            if from_config(model.config, str(self.path)) != self.architecture:
                assert model.shape() != self.sound.shape(), "another model would be held against the same baseline"
        except UsageError as error:
            assert_one_line(error, self.path)
        printed, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
            status = analytical.main(["--model", str(self.path), "--json"])
        assert status in (0, 2)
        if status:
            assert errors.getvalue().startswith("error: ")
        else:
            assert "NaN" not in printed.getvalue()


@pytest.fixture(params=CONFIGS)
def configuration(request, tmp_path):
    return Configuration(tmp_path, CONFIGS[request.param])


@fault("Files", "bytes of a model's config.json damaged (7 x 700 mutations)", SOUND_MODEL)
def test_damaged_bytes_of_a_configuration(configuration):
    @settings(max_examples=700)
    @given(damaged(json.dumps(configuration.sound.config, indent=1).encode()))
    def check(data):
        configuration.check(data)

    check()


@fault("Files", "values of a model's config.json replaced (7 x 700 mutations)", SOUND_MODEL)
def test_misfilled_configurations(configuration):
    @settings(max_examples=700)
    @given(misfilled(configuration.sound.config))
    def check(document):
        configuration.check(json.dumps(document).encode())

    check()


SHAREGPT = [
    {
        "id": str(i),
        "conversations": [
            {"from": "human", "value": "how fast is it " * (i + 2)},
            {"from": "gpt", "value": "as fast as memory allows " * (i + 2)},
            {"from": "human", "value": "thanks"},
        ],
    }
    for i in range(4)
]
CONVERSATIONS = "a usage error of one line, or conversations that the file holds, within the limits"


def sharegpt_check(text, encode):
    """An error of one line, or conversations whose prompts are in the file and whose lengths are within the limits."""
    try:
        found = sharegpt.parse(text, "--sharegpt: file.json", encode, 512)
    except UsageError as error:
        assert_one_line(error, "--sharegpt: file.json")
        return
    entries = [entry for entry in json.loads(text) if isinstance(entry, dict)]
    conversations = [one for entry in entries if isinstance(one := entry.get("conversations"), list)]
    turns = [turn for conversation in conversations for turn in conversation if isinstance(turn, dict)]
    said = [value for turn in turns if isinstance(value := turn.get("value"), str)]
    lengths = [len(encode(value)) if encode else len(value) // 4 for value in said]
    for conversation in found:
        assert conversation.input_len in lengths
        assert conversation.output_len in lengths
        assert min(conversation.input_len, conversation.output_len) >= 4
        assert conversation.input_len + conversation.output_len <= 512
        assert conversation.prompt is None or list(conversation.prompt) in map(encode, said)
    assert len(found) + sum(count for count, _ in found.left_out.values()) == len(json.loads(text))


@pytest.fixture(scope="module", params=["estimated", "encoded"])
def encode(request, tmp_path_factory):
    """How lengths are found: by characters, or by a tokenizer of words."""
    if request.param == "estimated":
        return None
    directory = tmp_path_factory.mktemp("weights")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({"?": 0, "fast": 1, "memory": 2}, unk_token="?"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(directory / "tokenizer.json"))
    return encoder(directory, 3)


@fault("Files", "bytes of a ShareGPT file damaged (2 x 500 mutations)", CONVERSATIONS)
def test_damaged_bytes_of_sharegpt(encode):
    @settings(max_examples=500)
    @given(damaged(json.dumps(SHAREGPT).encode()))
    def check(data):
        sharegpt_check(data.decode("utf-8", "replace"), encode)

    check()


@fault("Files", "values of a ShareGPT file replaced (2 x 500 mutations)", CONVERSATIONS)
def test_misfilled_sharegpt(encode):
    @settings(max_examples=500)
    @given(misfilled({"all": SHAREGPT}))
    def check(document):
        sharegpt_check(json.dumps(document.get("all")), encode)

    check()


@pytest.mark.cpu
def test_half_a_surrogate_pair_is_a_token_like_any_other(encode):
    turns = [{"value": "is \ud800 fast, what is memory, what else"}] * 2
    (found,) = sharegpt.parse(json.dumps([{"conversations": turns}]), "file.json", encode, 512)
    assert found.input_len >= 4


@fault(
    "Files",
    "a tokenizer.json that is none",
    "a usage error of one line: the file and the tokenizer's words",
    quick=True,
)
def test_a_damaged_tokenizer(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": ')
    with pytest.raises(UsageError, match="not a tokenizer: ") as caught:
        encoder(tmp_path, 3)
    assert_one_line(caught.value, tmp_path / "tokenizer.json")


REPORTED = "`python -m fixtures.report`: an error of one line, or reports"


def reported(directory):
    """Make the reports again: an error of one line that names the directory, or both of them."""
    errors = io.StringIO()
    for name in ("report.md", "report.html"):
        (directory / name).unlink(missing_ok=True)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        status = report.main([str(directory)])
    made = (directory / "report.md").exists() and (directory / "report.html").exists()
    text = errors.getvalue()
    if status:
        assert not made
        assert text.startswith(f"error: {directory}")
        assert text.count("\n") == 1
    else:
        assert made


@pytest.fixture(scope="module")
def finished():
    """A small run, as run.json has it."""
    return json.loads(run_module.text(synthetic_run(cells=2, boots=1, known=2)))


@fault("Files", "values of a run's run.json replaced (100 mutations)", REPORTED)
def test_misfilled_runs(finished, tmp_path):
    @settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(misfilled(finished))
    def check(document):
        (tmp_path / run_module.FILE).write_text(json.dumps(document))
        reported(tmp_path)

    check()


@fault("Files", "bytes of a killed run's samples damaged (40 mutations)", REPORTED)
def test_damaged_samples(finished, tmp_path):
    (tmp_path / run_module.FILE).write_text(json.dumps(finished | {"cells": []}))
    lines = [{"cell": cell["id"], "workload": cell["workload"]} | cell["boots"][0] for cell in finished["cells"]]

    @settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(damaged("".join(f"{json.dumps(line)}\n" for line in lines).encode()))
    def check(data):
        (tmp_path / SAMPLES).write_bytes(data)
        reported(tmp_path)

    check()


def _written(path, data):
    path.write_bytes(data)
    return str(path)
