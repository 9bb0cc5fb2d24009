"""The pairs of tests/ports are right, and the bugs planted in them are bugs: by true weights, without the checker."""

import ast

import pytest

from tests.ports import NAMES
from tests.ports.bugs import BUGS
from tests.ports.verify import change, compare

QUICK = "lstm"


def pairs() -> list:
    return [pytest.param(name, marks=[] if name == QUICK else [pytest.mark.slow]) for name in NAMES]


@pytest.mark.parametrize("name", pairs())
def test_pair_is_right(name):
    errors = compare(name)

    assert errors.output < 1e-12
    assert errors.gradient < 1e-10  # a gradient that is zero in theory is rounding over 1e-6 of the whole


def test_every_bug_is_planted(tmp_path):
    assert len({bug.name for bug in BUGS}) == len(BUGS) >= 45
    assert {bug.pair for bug in BUGS} == set(NAMES)
    assert any(bug.permuted for bug in BUGS)
    for bug in BUGS:
        bug.write(tmp_path)
        ast.parse((tmp_path / f"{bug.pair}_{bug.side}.py").read_text())


@pytest.mark.parametrize(
    "bug",
    [pytest.param(b, id=b.name, marks=[] if b.name == "lstm-first-step" else [pytest.mark.slow]) for b in BUGS],
)
def test_bug_changes_the_numbers(bug):
    errors = change(bug)

    if bug.backward:
        assert errors.output < 1e-12
        assert errors.gradient > 1e-7
    else:
        assert errors.output > 1e-7
