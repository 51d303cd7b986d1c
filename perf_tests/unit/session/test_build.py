"""What the options of a session come to: each model's data set is in its own tokens."""

import dataclasses
import json

import pytest

from fixtures.errors import UsageError
from fixtures.session import build
from fixtures.workloads.tokenizer import words
from perf_tests.fakes.deployments import head, load, workload

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
    said = []
    deployment, found = build.with_sharegpt(two_models, dataset, said.append)
    alpha, beta = (found[entry.name] for entry in two_models.models)
    assert [one.prompt for one in alpha] == [(88, 87, 86, 85, 84)]
    assert [one.prompt for one in beta] == [(38, 37, 36, 35, 34)]
    assert not said
    assert all(workload.dataset for workload in deployment.workloads)


def test_a_model_without_a_tokenizer_is_told(two_models, dataset, tmp_path):
    (tmp_path / "alpha" / "tokenizer.json").unlink()
    said = []
    _, found = build.with_sharegpt(two_models, dataset, said.append)
    alpha, beta = (found[entry.name] for entry in two_models.models)
    assert [one.prompt for one in alpha] == [None]
    assert [one.prompt for one in beta] != [None]
    (text,) = said
    assert f"no tokenizer.json beside the weights of {two_models.models[0].name}: lengths are guessed" in text


def test_a_tokenizer_of_a_larger_model_is_refused(two_models, dataset, tmp_path):
    (tmp_path / "alpha" / "tokenizer.json").write_text(words(1000)["tokenizer.json"])
    dataset.write_text(json.dumps([{"conversations": [{**turn, "value": "t100 " * 9} for turn in TURNS]}]))
    with pytest.raises(UsageError, match="alpha/tokenizer.json: token 100 is beyond vocab_size 100"):
        build.with_sharegpt(two_models, dataset, print)


def test_without_a_data_set_there_is_none(two_models):
    assert build.with_sharegpt(two_models, None, print) == (two_models, {})
