"""The real ShareGPT file."""

import json

import pytest

from fixtures.client.plan import plan
from fixtures.errors import UsageError
from fixtures.workloads import sharegpt
from fixtures.workloads.workload import Workload

pytestmark = pytest.mark.cpu
OFFLINE = Workload("w", "offline", num_prompts=50, input_len=20, output_len=30, lengths="sharegpt")


def test_the_real_sharegpt_file():
    def entry(prompt, answer):
        return {"conversations": [{"from": "human", "value": prompt}, {"from": "gpt", "value": answer}]}

    good = entry("tell me something " * 4, "an answer of some length " * 4)
    data = [good, entry("hi", "x" * 400), entry("y" * 5000, "z" * 40), {"conversations": [{"value": "alone"}]}]
    (kept,) = sharegpt.parse(json.dumps(data), "f", None, 2048)
    assert (kept.input_len, kept.output_len, kept.prompt) == (18, 25, None)
    (encoded,) = sharegpt.parse(json.dumps([good]), "f", lambda text: list(text.encode()[:40]), 2048)
    request = plan(OFFLINE, 1000, 1024, "s", [encoded])[0]
    assert request.prompt == list(b"tell me something tell me something tell"[:40])


@pytest.mark.parametrize("text", ["nonsense", "{}", "[]", '[{"conversations": 3}]', '[{"other": []}]'])
def test_a_file_that_is_not_sharegpt(text):
    with pytest.raises(UsageError, match="^f: "):
        sharegpt.parse(text, "f", None, 2048)
