"""A model's own tokenizer, and what shows that it is another's."""

import pytest
from tokenizers import Tokenizer

from fixtures.errors import UsageError
from fixtures.workloads.tokenizer import encoder, words

pytestmark = pytest.mark.cpu


@pytest.fixture
def directory(tmp_path):
    for name, text in words(50).items():
        (tmp_path / name).write_text(text)
    return tmp_path


def test_text_becomes_the_models_tokens(directory):
    assert encoder(directory, 50)("t3 t49 other") == [3, 49, 0]


def test_lengths_that_training_left_in_the_file_do_not_apply(directory):
    stored = Tokenizer.from_file(str(directory / "tokenizer.json"))
    stored.enable_truncation(max_length=4)
    stored.enable_padding(length=4)
    stored.save(str(directory / "tokenizer.json"))
    assert encoder(directory, 50)(" ".join(["t3"] * 9)) == [3] * 9
    assert encoder(directory, 50)("t3 t49") == [3, 49]


def test_without_a_file_there_is_none(tmp_path):
    assert encoder(tmp_path, 50) is None
    assert encoder(None, 50) is None


def test_a_token_beyond_the_vocabulary_is_refused(directory):
    encode = encoder(directory, 49)
    assert encode("t48") == [48]
    with pytest.raises(UsageError, match=r"tokenizer.json: token 49 is beyond vocab_size 49: is it another model's\?"):
        encode("t49")
