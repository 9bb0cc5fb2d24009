"""Deliberate porting bugs, each in an otherwise right twin, and what the checks must say of it.

Run by: python -m tests.planted, which prints the table of them all.
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

import parity
from parity.report import Failure
from tests import odd_pair, pairs

Patch = Callable[[Any, str, Any], None]  # monkeypatch.setattr


class Planted(NamedTuple):
    """A bug, and the first failure that it must lead to."""

    bug: str
    trap: int | None  # its row in docs/traps.md
    network: str
    find: Callable[[Patch], tuple[Failure, ...]]  # plants it and returns what was found
    check: str
    layer: str
    looks_like: str = ""  # what the diagnosis must match; empty: it names no cause, only the place


class Verdict(NamedTuple):
    caught: bool
    located: bool
    diagnosed: bool | None  # None where no cause is named
    failure: Failure | None


def judge(planted: Planted, patch: Patch) -> Verdict:
    """Plant a bug, run the checks, and say what they made of it."""
    failures = planted.find(patch)
    if not failures:
        return Verdict(False, False, None, None)
    first = failures[0]
    diagnosed = bool(re.search(planted.looks_like, first.diagnosis)) if planted.looks_like else None
    return Verdict(True, (first.check, first.layer) == (planted.check, planted.layer), diagnosed, first)


# --- two small pairs ------------------------------------------------------------------------------------------------


def of_pair(bug: str, _: Patch) -> tuple[Failure, ...]:
    torch.manual_seed(0)
    inputs = np.random.default_rng(0).normal(scale=3, size=(6, *pairs.SHAPE))
    return parity.check(pairs.TorchNet(), pairs.FlaxNet(bug=bug), inputs, same_names=True, fail_fast=True).failures


def of_odd(bug: str, _: Patch) -> tuple[Failure, ...]:
    torch.manual_seed(0)
    inputs = np.random.default_rng(0).normal(size=(6, *odd_pair.SHAPE))
    return parity.check(
        odd_pair.TorchOdd(), odd_pair.FlaxOdd(bug=bug), inputs, same_names=True, fail_fast=True
    ).failures


def far_from_zero() -> np.ndarray:
    """Inputs (N, 4) whose mean is hundreds of deviations: what a fast variance cancels in (trap 3)."""
    return np.random.default_rng(0).normal(loc=1000, scale=3, size=(16, 4))


def of_far(_: Patch) -> tuple[Failure, ...]:
    torch.manual_seed(0)
    net, x = pairs.TorchNorm(), far_from_zero()
    return parity.check(net, pairs.FlaxNorm(fast=True), x, same_names=True, fail_fast=True).failures


def at_zero() -> tuple[pairs.Reference, np.ndarray]:
    """A network whose ReLU is given exact zeros, where jnp.maximum has gradient 0.5 (trap 11), and its inputs."""
    torch.manual_seed(0)
    net, x = pairs.Reference(), np.random.default_rng(0).normal(size=(5, 4))
    net.fc.bias.data[:4] = 0  # not all of it: what is all zero is made random
    x[2] = 0
    return net, x


def of_zero(_: Patch) -> tuple[Failure, ...]:
    net, x = at_zero()
    return parity.check(net, pairs.Maximum(), x, same_names=True, fail_fast=True).failures


PAIR = [
    ("biased variance (1)", 1, "BatchNorm statistics", "bn1/var", r"biased one, off by n/\(n-1\), n=96 \(trap 1\)"),
    ("Flax's BatchNorm, old momentum (2)", 2, "BatchNorm statistics", "bn1/mean", r"old one's share \(trap 2\)"),
    ("epsilon (2)", 2, "forward, eval", "bn1", r"^epsilon is 0.001 where PyTorch has 1e-05 \(trap 2\)"),
    ("SAME at stride 2 (4)", 4, "forward, eval", "conv1", r"^SAME padding, \(0, 1\) .* \(trap 4\)"),
    ("average instead of max-pool (6)", 6, "forward, eval", "fc1", r"Flax: .*average pool 2.*\(trap 6\)"),
    ("channels-last flatten (8)", 8, "forward, eval", "fc1", r"Flax: .*flatten \(\.\.\., C\) \(trap 8\)"),
    ("square kernel not transposed (9)", 9, "forward, eval", "fc1", r"square kernel is not transposed \(trap 9\)"),
    ("missing ReLU (10)", 10, "forward, eval", "fc1", r"PyTorch: bn1, ReLU, .*; Flax: bn1, max-pool"),
    ("ReLU before BatchNorm (10)", 10, "forward, eval", "bn1", r"Flax: conv1, ReLU \(trap 10\)"),
    ("tanh GELU (12)", 12, "forward, eval", "drop1", r"exact GELU; Flax: fc1, tanh GELU \(trap 12\)"),
    ("drop for keep (20)", 20, "forward, train", "drop1", r"keep for drop \(trap 20\)"),
    ("dropout left out (20)", 20, "forward, train", "drop1", r"nothing is dropped in training \(trap 20\)"),
    ("frozen statistics (21)", 21, "forward, train", "bn1", r"running statistics are used in training.*\(trap 21\)"),
    ("not a number", None, "forward, eval", "output", ""),
    ("missing bias (24)", 24, "structure", "params/fc2/bias", "missing in Flax"),
    ("other name (24)", 24, "structure", "params/fc2/kernel", "params/classifier/kernel: missing in PyTorch"),
    ("one unit more (24)", 24, "structure", "params/fc2/kernel", r"\(16, 5\) float32, Flax \(16, 6\)"),
]
ODD = [
    ("extra pixel in front", 5, "forward, eval", "conv1", r"shifted padding: \(2, 1\) where .* \(trap 5\)"),
    ("flipped", 9, "forward, eval", "conv3", "kernel is flipped"),
    ("height and width", 9, "forward, eval", "conv3", r"height and width of the kernel are swapped \(trap 9\)"),
    ("inputs and outputs", 9, "forward, eval", "conv3", r"inputs and outputs of the kernel are swapped \(trap 9\)"),
    ("default epsilon", 2, "forward, eval", "norm", r"epsilon is 1e-06 where PyTorch has 1e-05 \(trap 2\)"),
    ("ReLU for SiLU", 10, "forward, eval", "conv2", r"PyTorch: conv1, SiLU; Flax: conv1, ReLU"),
    ("max-pool with zeros", 6, "forward, eval", "conv3", r"padding 1 with zeros \(trap 6\)"),
    ("padding not counted", 7, "forward, eval", "norm", ""),  # two pools in a row: more than the search tries
    ("cropped for pooled", 7, "forward, eval", "norm", ""),
    ("layers swapped", 24, "forward, eval", "fc1", "Flax calls fc2 where PyTorch calls fc1|Flax: norm"),
    ("no tanh", 10, "forward, eval", "fc2", r"PyTorch: fc1, tanh; Flax: fc1 \(trap 10\)"),
    ("stopped gradient", None, "gradients", "fc1", "there is no gradient: is it stopped"),
    ("sum for mean", 18, "forward, eval", "output", r"it is PyTorch's times 6"),
]


BUGS = [
    *(Planted(bug, trap, "small pair", partial(of_pair, bug), *rest) for bug, trap, *rest in PAIR),
    Planted("fast variance", 3, "norm pair", of_far, "forward, train", "bn", r"E\[x\^2\] - E\[x\]\^2.*\(trap 3\)"),
    Planted("maximum for ReLU", 11, "dropout pair", of_zero, "gradients", "fc", r"at zero is another one \(trap 11\)"),
    *(Planted(bug, trap, "odd pair", partial(of_odd, bug), *rest) for bug, trap, *rest in ODD),
]


def main() -> None:
    """Print the table."""
    import pytest

    from tests import planted_networks, planted_training

    verdicts = []
    print("| trap | bug | network | check | place | diagnosis |\n| --- | --- | --- | --- | --- | --- |")
    for bug in [*BUGS, *planted_networks.BUGS, *planted_training.BUGS]:
        with pytest.MonkeyPatch.context() as context:
            verdict = judge(bug, context.setattr)
        verdicts.append(verdict)
        found = verdict.failure
        check, place, words = (found.check, found.layer, found.diagnosis) if found else ("MISSED", "", "")
        place += "" if verdict.located else ": WRONG"
        words = ("WRONG: " if verdict.diagnosed is False else "") + words.replace("|", "/")[:200]
        print(f"| {bug.trap or ''} | {bug.bug} | {bug.network} | {check} | {place} | {words} |", flush=True)
    named = [v for v in verdicts if v.diagnosed is not None]
    print(
        f"\n{len(verdicts)} bugs: {sum(v.caught for v in verdicts)} caught, {sum(v.located for v in verdicts)} "
        f"located, {sum(bool(v.diagnosed) for v in named)} of {len(named)} diagnoses right"
    )


if __name__ == "__main__":
    main()
