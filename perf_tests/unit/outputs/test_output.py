"""What a server makes of a prompt, as the engines tell it and as a file holds it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures.engines.registry import ENGINES
from fixtures.errors import EngineError
from fixtures.outputs.output import Output
from perf_tests.fakes.server_process import mock_server
from perf_tests.fakes.specs import spec

pytestmark = pytest.mark.cpu
LOGPROBS = st.floats(-40, 0).map(lambda value: float(f"{value:.4g}"))
TOKENS = st.integers(0, 200_000)


@st.composite
def outputs(draw, prompt=5, answer=3):
    """An output of a prompt and an answer of these lengths."""
    tokens = draw(st.tuples(*[TOKENS] * (prompt - 1 + answer)))
    values = draw(st.tuples(*[LOGPROBS] * (prompt - 1 + answer)))
    return Output(values[: prompt - 1], tokens[: prompt - 1], tokens[prompt - 1 :], values[prompt - 1 :])


@given(outputs())
def test_a_line_holds_all_of_an_output(output):
    assert Output.parse(output.text) == output
    assert "\n" not in output.text


@pytest.mark.parametrize(
    "line", ["", "-1; 2; 3", "-1; 2; 3; x", "-1 -2; 3; 4; -5", "-1; 2; 3 4; -5", "-1; 2; 3; -5; 6"]
)
def test_a_line_that_holds_something_else_is_refused(line):
    with pytest.raises(ValueError, match="."):
        Output.parse(line)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
def test_both_engines_are_asked_in_their_own_words(engine):
    prompt = [3, 50, 7, 12]
    with mock_server("--ttft", "0", "--gap", "0", "--model", "m") as url:
        found = ENGINES[engine].scored(spec(served_name="m"), url, prompt, 5)
    own = tuple(-((token * 31 + i * 7) % 97) / 10 - 0.2 for i, token in enumerate(prompt))[1:]
    assert found == Output(own, (9, 9, 9), (7,) * 5, (-0.5,) * 5)


def test_a_server_that_tells_no_probabilities_is_named():
    with mock_server("--ttft", "0", "--gap", "0", "--model", "m", "--no-logprobs") as url:
        for engine in ("vllm", "sglang"):
            with pytest.raises(EngineError, match=f"outputs: {url}/.*: no log-probabilities in the answer"):
                ENGINES[engine].scored(spec(served_name="m"), url, [3, 4], 2)


def test_what_is_no_output_of_the_prompt_is_refused():
    output = Output((-1.0, -2.0), (5, 6), (7,), (-0.5,))
    output.check(3, 1)
    with pytest.raises(EngineError, match="outputs: 2 and 1 tokens came back with their probabilities, not 3 and 1"):
        output.check(4, 1)
    with pytest.raises(EngineError, match="not a finite number"):
        Output((-1.0, float("nan")), (5, 6), (7,), (-0.5,)).check(3, 1)
