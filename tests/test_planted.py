"""Every planted bug is caught, in the right place, for the right reason; and right pairs raise no alarm."""

import numpy as np
import pytest
import torch

import parity
from parity.checks.layers import check_sides
from parity.sides.flax_side import FlaxSide
from tests import odd_pair, pairs, planted, planted_networks, planted_training
from tests.quick import slow_unless

BUGS = [*planted.BUGS, *planted_networks.BUGS, *planted_training.BUGS]
# One of each way to plant a bug and each check that finds it; of networks the one that this project exists for.
QUICK = {(getattr(bug.find, "func", bug.find), bug.check): bug.bug for bug in BUGS}
QUICK[planted_networks.of_network, "forward, eval"] = "dead max-pool"
SEEDS = range(50)  # of each of two pairs
RIGHT = {
    "small pair": (pairs.TorchNet, pairs.FlaxNet(), pairs.SHAPE),
    "odd pair": (odd_pair.TorchOdd, odd_pair.FlaxOdd(), odd_pair.SHAPE),
}


def test_there_are_enough_bugs_in_several_networks():
    assert len(BUGS) >= 40
    assert len({bug.network for bug in BUGS}) >= 5


@pytest.mark.parametrize(
    "bug", slow_unless(lambda bug: bug.bug in QUICK.values(), BUGS), ids=lambda bug: f"{bug.network}: {bug.bug}"
)
def test_a_planted_bug_is_caught_located_and_named(bug, monkeypatch):
    verdict = planted.judge(bug, monkeypatch.setattr)
    assert verdict.failure, "not caught"
    assert (verdict.failure.check, verdict.failure.layer) == (bug.check, bug.layer), verdict.failure
    assert verdict.diagnosed is not False, verdict.failure.diagnosis
    assert not verdict.failure.error <= verdict.failure.bound


@pytest.mark.usefixtures("without_compiled")
def test_where_two_bugs_need_special_inputs_the_right_pair_passes():
    torch.manual_seed(0)
    report = parity.check(pairs.TorchNorm(), pairs.FlaxNorm(), planted.far_from_zero())
    assert report.ok, report.failures
    net, x = planted.at_zero()
    assert parity.check(net, pairs.Deterministic(), x).ok


@pytest.mark.usefixtures("without_compiled")
@pytest.mark.parametrize(
    ("name", "seeds"),
    [*((name, SEEDS[:1]) for name in RIGHT), *(pytest.param(name, SEEDS, marks=pytest.mark.slow) for name in RIGHT)],
)
def test_right_pairs_raise_no_alarm(name, seeds):
    make, module, shape = RIGHT[name]
    sides = FlaxSide(module, np.float64), FlaxSide(module, np.float32)  # compiled once for all seeds
    for seed in seeds:
        torch.manual_seed(seed)
        inputs = np.random.default_rng(seed).normal(scale=3, size=(6, *shape))
        report = check_sides(make(), sides, inputs, name, seed=seed)
        assert report.ok, (seed, report.failures)
