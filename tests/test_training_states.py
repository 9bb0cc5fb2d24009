"""Trainings whose state holds more than a network: recurrent states, several critics in tuples, targets."""

import numpy as np
import pytest

from parity.mapping.rule import Rule
from parity.training.targets import like_copies
from tests.trainings.bugs import BUGS
from tests.trainings.run_bugs import check_bug, check_right


@pytest.mark.parametrize("name", ["twins", pytest.param("stacked", marks=pytest.mark.slow)])
def test_states_beside_the_network_are_told_apart(name):
    report = check_right(name, steps=3)
    assert report.ok, report.failures[0].text
    stages = {stage.stage: stage.tensors for stage in report.stages}
    assert stages["forward"] >= 1
    assert stages["average"] == {"twins": 8, "stacked": 0}[name]
    assert max(stage.error for stage in report.stages) < 1e-12


@pytest.mark.slow
def test_a_parameter_in_its_targets_place_is_the_parameter():
    report = check_bug(next(bug for bug in BUGS if bug.name == "dqn-target-online"), steps=3)
    assert (report.stage, report.step) == ("loss", 2)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["closure-staircase", "lion-decay"])
def test_a_rate_or_decay_is_told_of_a_closure_and_of_an_unknown_rule(name):
    bug = next(bug for bug in BUGS if bug.name == name)
    report = check_bug(bug, steps=4)
    assert (report.stage, report.step) == (bug.stage, bug.step)
    assert bug.word in report.diagnosis


def test_targets_follow_what_they_start_as_a_copy_of():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 3)), rng.normal(size=(2, 3))
    made = {"0/w": first, "1/w": second, "2/w": first.copy(), "3/w": second.copy()}
    made |= {f"{i}/b": np.zeros(3) for i in range(4)}
    rules = {name: Rule((name,), ()) for name in ("a.w", "b.w", "a.b", "b.b")}
    params = {"0/w": rules["a.w"], "1/w": rules["b.w"], "0/b": rules["a.b"], "1/b": rules["b.b"]}
    told = {"2/w": rules["b.w"], "3/w": rules["a.w"], "2/b": rules["b.b"], "3/b": rules["a.b"]}
    found = like_copies({leaf: ("targets", rule) for leaf, rule in told.items()}, params, made)
    sources = {leaf: rule.sources[0] for leaf, (_, rule) in found.items()}
    assert sources == {"2/w": "a.w", "3/w": "b.w", "2/b": "a.b", "3/b": "b.b"}
