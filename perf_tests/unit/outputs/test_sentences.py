"""Texts that never change."""

import hashlib

import pytest

from fixtures.outputs.sentences import sentences

pytestmark = pytest.mark.cpu


def test_every_text_begins_with_a_sentence_of_its_own():
    found = sentences(2520, 1)
    assert len({text.split(". ")[0] for text in found}) == 2520
    assert all(len(text) >= 300 for text in sentences(96, 300))
    with pytest.raises(ValueError, match="there are 2520 sentences, 2521 were asked for"):
        sentences(2521, 1)


def test_they_are_those_that_baselines_were_asked():
    text = "\n".join(sentences(100, 500))
    assert hashlib.sha256(text.encode()).hexdigest()[:16] == "704446f1105c2e0f"
    assert text.startswith("The old captain carried a wooden boat behind the station because nobody else was there. ")
