"""How a rise of the spread between repetitions is found."""

import statistics

import numpy as np
import pytest

from fixtures.errors import UsageError
from fixtures.studies.gate.__main__ import main
from fixtures.studies.gate.spreads import LEVEL, Repeated, found

pytestmark = pytest.mark.cpu


@pytest.mark.parametrize(("tails", "within"), [(False, 0.1), (True, 0.4)])
def test_spreads_are_those_of_their_repetitions(tails, within):
    random = np.random.default_rng(3)
    own = Repeated(repetitions=9, between=0.0, tails=tails).spreads(200, 2.0, random)
    assert statistics.median(own) == pytest.approx(2 * LEVEL, rel=within)


def test_a_large_rise_is_found_and_none_is_none():
    assert found(Repeated(between=0.0), 1.0, 10, 20) == 0
    assert found(Repeated(between=0.0), 5.0, 10, 10) > 0.8
    assert found(Repeated(between=0.0), 5.0, 7, 2) == 0, "with so few boots nothing is judged"


def test_the_command(capsys):
    assert main(["spreads", "--nights", "10"]) == 0
    text = capsys.readouterr().out
    assert text.count("heavy tails") == 2
    assert "20 cells of 5 repetitions a boot, 10 nights unchanged" in text
    with pytest.raises(UsageError, match="--nights"):
        main.__wrapped__(["spreads", "--nights", "9"])
