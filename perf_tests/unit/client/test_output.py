"""Which chunks carry the tokens of an answer, by hand."""

import pytest

from fixtures.client.output import Chunk, carried

pytestmark = pytest.mark.cpu


def chunks(spelling):
    """A chunk a letter, at 0, 1, 2 ...: ``x`` has text, ``.`` none, ``!`` none and ends the answer, ``X`` text and ends it."""
    return [Chunk(float(i), "x" * (one in "xX"), one in "!X") for i, one in enumerate(spelling)]


@pytest.mark.parametrize(
    ("spelling", "total", "times", "known"),
    [
        ("xxx", 3, [0, 1, 2], True),
        ("xxX", 3, [0, 1, 2], True),
        # As many texts as tokens: nothing else carries any.
        (".xxx", 3, [1, 2, 3], True),
        ("xxx!", 3, [0, 1, 2], True),
        ("..xxx.!", 3, [2, 3, 4], True),
        ("x.x.x", 3, [0, 2, 4], True),
        # With those without text between there are as many: they are halves of characters.
        ("x.x", 3, [0, 1, 2], True),
        (".x.x", 3, [1, 2, 3], True),
        ("x.x!", 3, [0, 1, 2], True),
        (".x.x!", 3, [1, 2, 3], True),
        # Before the first and after the last text nothing counts, though it may be half a character.
        (".xx", 3, [1, 2], False),
        ("xx!", 3, [0, 1], False),
        (".xx!", 3, [1, 2], False),
        # Fewer than tokens: from the first text to the last.
        ("xx", 5, [0, 1], False),
        ("x.x", 5, [0, 2], False),
        (".xx!", 9, [1, 2], False),
        # More texts than tokens.
        ("xxxx", 3, [0, 1, 2, 3], False),
        # A server without a tokenizer.
        ("...", 3, [0, 1, 2], True),
        ("...!", 3, [0, 1, 2], True),
        ("....", 3, [1, 2, 3], True),
        ("..", 5, [0, 1], False),
        ("!", 1, [0], True),
    ],
)
def test_the_chunks_that_carry_output(spelling, total, times, known):
    assert carried(chunks(spelling), total) == (times, [1] * total if known else [])


@pytest.mark.parametrize(
    ("counts", "total", "expected"),
    [
        ([1, 2, 3], 3, ([0, 1, 2], [1, 1, 1])),
        ([2, 2, 5], 5, ([0, 2], [2, 3])),
        ([0, 1, 3], 3, ([1, 2], [1, 2])),
    ],
)
def test_running_counts_tell(counts, total, expected):
    grown = [now > before for before, now in zip([0, *counts], counts, strict=False)]
    told = [Chunk(float(i), "x" * grows, count=n) for i, (n, grows) in enumerate(zip(counts, grown, strict=True))]
    assert carried(told, total) == expected


@pytest.mark.parametrize("counts", [[1, 2, 2], [0, 1, 2], [3, 2, 3], [1, None, 3], [1, 2, 4]])
def test_counts_that_disagree_with_the_text_are_not_believed(counts):
    told = [Chunk(float(i), "x", count=n) for i, n in enumerate(counts)]
    assert carried(told, 3) == ([0, 1, 2], [1, 1, 1])
