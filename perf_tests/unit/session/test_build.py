"""What the options of a session come to: each model's data set in its own tokens, and what is told of it."""

import contextlib
import dataclasses
import json

import pytest

from fixtures.errors import UsageError
from fixtures.hardware import choice
from fixtures.hardware.nvml import Card
from fixtures.session.build import build, with_sharegpt
from fixtures.session.options import Options
from fixtures.workloads.tokenizer import words
from perf_tests.fakes import fake_engine
from perf_tests.fakes.deployments import TWIN, head, load, workload

pytestmark = pytest.mark.cpu

# Words of a tokenizer with a word for each id, as many as one of the two models' vocabularies has.
TURNS = [
    {"from": "human", "value": "t11 t12 t13 t14 t15"},
    {"from": "gpt", "value": "t16 t17 t18 t19 t20"},
]


@pytest.fixture
def two_models(tmp_path, monkeypatch):
    """A deployment of two models that both have real weights, of which ``beta``'s are in the hub's cache."""
    config = {"model_type": "llama", "hidden_size": 64, "num_attention_heads": 4, "num_hidden_layers": 2}
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    revision = tmp_path / "hub" / "models--acme--beta" / "snapshots" / "abc"
    (revision.parents[1] / "refs").mkdir(parents=True)
    (revision.parents[1] / "refs" / "main").write_text("abc")
    older = revision.with_name("older")
    for directory, count in ((tmp_path / "alpha", 100), (revision, 50), (older, 9)):
        directory.mkdir(parents=True)
        (directory / "config.json").write_text(json.dumps(config | {"intermediate_size": 8, "vocab_size": count}))
        (directory / "model.safetensors").touch()
        # Each vocabulary counts from its own end.
        tokenizer = json.loads(words(count)["tokenizer.json"])
        vocabulary = tokenizer["model"]["vocab"]
        tokenizer["model"]["vocab"] = {word: count - 1 - i for word, i in vocabulary.items()}
        (directory / "tokenizer.json").write_text(json.dumps(tokenizer))
    text = head([str(tmp_path / "alpha"), str(revision)], max_model_len=512)
    deployment = load(tmp_path, text + workload("online", "online", rate=1, num_prompts=2, lengths="sharegpt"))
    sources = (str(tmp_path / "alpha"), "acme/beta")
    models = [dataclasses.replace(entry, weights=w) for entry, w in zip(deployment.models, sources, strict=True)]
    return dataclasses.replace(deployment, models=tuple(models))


@pytest.fixture
def dataset(tmp_path):
    path = tmp_path / "sharegpt.json"
    path.write_text(json.dumps([{"conversations": TURNS}]))
    return path


def test_each_model_gets_its_own_tokens_also_from_the_hubs_cache(two_models, dataset):
    deployment, found, notes = with_sharegpt(two_models, dataset)
    alpha, beta = (found[entry.name] for entry in two_models.models)
    assert [one.prompt for one in alpha] == [(88, 87, 86, 85, 84)]
    assert [one.prompt for one in beta] == [(38, 37, 36, 35, 34)]
    names = ", ".join(entry.name for entry in two_models.models)
    assert notes[0] == f"--sharegpt: {names}: texts as prompts: 1 of 1 conversations"
    assert all(workload.dataset for workload in deployment.workloads)


def test_a_model_without_a_tokenizer_is_told(two_models, dataset, tmp_path):
    (tmp_path / "alpha" / "tokenizer.json").unlink()
    _, found, notes = with_sharegpt(two_models, dataset)
    alpha, beta = (found[entry.name] for entry in two_models.models)
    assert [one.prompt for one in alpha] == [None]
    assert [one.prompt for one in beta] != [None]
    assert (
        f"{two_models.models[0].name}: lengths alone (there is no tokenizer.json: prompts are random tokens" in notes[0]
    )
    assert "texts as prompts" in notes[1]


def test_a_tokenizer_of_a_larger_model_is_refused(two_models, dataset, tmp_path):
    (tmp_path / "alpha" / "tokenizer.json").write_text(words(1000)["tokenizer.json"])
    dataset.write_text(json.dumps([{"conversations": [{**turn, "value": "t100 " * 9} for turn in TURNS]}]))
    with pytest.raises(UsageError, match="alpha/tokenizer.json: token 100 is beyond vocab_size 100"):
        with_sharegpt(two_models, dataset)


def test_without_a_data_set_there_is_none(two_models):
    assert with_sharegpt(two_models, None) == (two_models, {}, [])


QUESTION, ANSWER = "how fast is memory here", "as fast as memory allows"
OFFLINE = {"num_prompts": 5, "lengths": "sharegpt", "repetitions": 1}


def built(directory, text, **options):
    path = directory / "mine.toml"
    path.write_text(text)
    return build(Options(deployment=str(path), **options), directory, lambda *args, **kwargs: None)


def sharegpt(directory, *entries):
    path = directory / "sharegpt.json"
    good = {"conversations": [{"from": "human", "value": QUESTION}, {"from": "gpt", "value": ANSWER}]}
    path.write_text("\ufeff" + json.dumps([good, good, *entries]), encoding="utf-8")
    return path


def test_what_became_of_a_dataset_is_told(tmp_path):
    text = head() + workload("offline", "offline", **OFFLINE)
    notes = built(tmp_path, text, sharegpt=sharegpt(tmp_path, {"id": "odd"})).notes
    assert notes == (
        f"--sharegpt: {TWIN}: lengths alone (there is no tokenizer.json: prompts are random tokens, lengths estimated from "
        "characters): 2 of 3 conversations; 1 without a list of turns as 'conversations' (first: entry 2)",
        "--sharegpt: offline: 5 requests of 2 conversations repeat them",
    )
    assert built(tmp_path, text).notes == ()


def test_a_dataset_that_nothing_uses_is_told(tmp_path):
    text = head() + workload("batch", "batch", batch_size=1, repetitions=1)
    (_, note) = built(tmp_path, text, sharegpt=sharegpt(tmp_path)).notes
    assert note == "--sharegpt: no workload of mine has lengths = 'sharegpt': the file is not used"


def test_lengths_that_would_be_cut_are_refused_before_anything_boots(tmp_path):
    text = head(max_model_len=32768) + workload("long", "offline", **OFFLINE | {"input_len": 8000, "output_len": 500})
    with pytest.raises(UsageError, match="deployment 'mine': workload 'long': input_len: .*found 8,000"):
        built(tmp_path, text)
    # The lengths of a file are its own.
    assert built(tmp_path, text, sharegpt=sharegpt(tmp_path)).cells


def test_conversations_say_how_many_of_a_file_are_long_enough(tmp_path):
    text = head(max_model_len=512) + workload(
        "talk", "conversations", rate=1, num_prompts=2, turns=2, lengths="sharegpt", input_len=8, output_len=8
    )
    path = tmp_path / "sharegpt.json"
    path.write_text(json.dumps([{"conversations": TURNS * 2}, {"conversations": TURNS}]))
    _, _, notes = with_sharegpt(load(tmp_path, text), path)
    assert notes[1:] == ["--sharegpt: talk: 2 conversations of 1 that have 2 turns and fit into the context"]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, 300.0),
        ({"time_limit": 0.0}, 0.0),
        ({"time_limit": 60.0}, 60.0),
        ({"compare_engine_options": {"vllm": "--max-num-seqs=64"}}, 0.0),
    ],
)
def test_the_deployments_time_limit_holds_where_nothing_else_is_said_and_one_engine_is_booted(tmp_path, given, seconds):
    text = head(max_model_len=256, time_limit=300) + workload("batch-1", "batch", batch_size=1)
    load(tmp_path, text, "mine")
    options = Options(
        deployment=str(tmp_path / "mine.toml"), engine_env={"vllm": fake_engine.build(tmp_path / "engine")}, **given
    )
    config = build(options, tmp_path, lambda text, passing=False: None)
    assert config.deployment.time_limit == config.session.time_limit.seconds == seconds


@pytest.mark.parametrize(
    ("engine", "refused"), [("vllm", ""), ("sglang", "--side-by-side: sglang/mixtral-8x7b/tp1: two servers")]
)
def test_side_by_side_the_cards_need_room_for_two_servers_of_engines_that_have_a_control(
    tmp_path, monkeypatch, engine, refused
):
    monkeypatch.setattr(choice, "take", lambda _: [Card(0, "NVIDIA H200", 139 * 2**30, 0, 0)])
    monkeypatch.setattr("fixtures.session.build._check_environments", lambda *_: None)
    options = Options(
        deployment="h200x1",
        cells=("vllm/llama-3.1-8b/*", "sglang/mixtral-8x7b/*"),
        control_engine_env={engine: tmp_path},
        side_by_side=True,
    )
    with pytest.raises(UsageError, match=refused) if refused else contextlib.nullcontext():
        build(options, tmp_path, lambda text, passing=False: None)
