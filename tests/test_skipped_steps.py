"""Skipped steps, with every option: what is left is the training without them, in both frameworks, and by hand.

Each training goes through the frameworks' own loops. The oracle is a plain loop over PyTorch's own functions that is
given the good batches alone.
"""

import copy
from collections.abc import Iterator, Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from rich.console import Console
from torch.nn import functional
from torch.optim import lr_scheduler

import jaxnets.averaging
import jaxnets.compose
import jaxnets.loop
import jaxnets.skipping
import torchnets.compose
import torchnets.loop
import torchnets.skipping
from data import Batch
from experiment.config import Config
from experiment.loop.monitor import Monitor
from jaxnets.averaging import AveragedState, update_average
from jaxnets.step import TrainState
from parity.copy import flatten, to_flax
from tests.pairs import FlaxNorm, TorchNorm
from torchnets.muon import Muon

RATE = 0.05
# Every option that acts on a step is in at least one; the others are off there, so that each is also met alone.
CASES: dict[str, dict[str, Any]] = {
    "sgd": {"l1": 1e-2, "schedule": "step"},
    "momentum": {"weight_decay": 0.1, "ema": 0.9, "clip_norm": 0.05, "schedule": "cosine"},
    "nesterov": {"accumulate": 3, "ema": 0.5, "schedule": "onecycle"},
    "adam": {"weight_decay": 0.1, "decay_weights_only": True, "label_smoothing": 0.1},
    "adamw": {"weight_decay": 0.1, "mixup": 0.2, "ema": 0.9, "schedule": "linear"},
    "rmsprop": {"loss": "bce", "ema": 0.99, "schedule": "warmup-cosine"},
    "muon": {"weight_decay": 0.1, "clip_norm": 0.05, "accumulate": 2, "l1": 1e-2, "ema": 0.9, "schedule": "onecycle"},
}
PLAIN = "momentum"  # which bugs are planted in


class End(NamedTuple):
    """What a training has come to."""

    params: dict[str, np.ndarray]  # the latest weights and statistics, by Flax's paths
    evaluated: dict[str, np.ndarray]  # those of the average, if there is one
    state: dict[str, np.ndarray]  # all that a checkpoint has
    skipped: int


def config_of(optimizer: str) -> Config:
    options: dict[str, Any] = {"schedule": "constant", **CASES[optimizer], "optimizer": optimizer}
    return Config(lr=RATE, on_nan="skip", precision="float64", epochs=1, **options)


def batches_of(config: Config) -> tuple[list[Batch], list[Batch]]:
    """Return the batches of a training, and of these the good ones: bad ones are first, in between, last, in a row."""
    rng = np.random.default_rng(0)
    good = []
    for _ in range(3):
        labels: Any = rng.integers(0, 3, 8).astype(np.int32)
        if config.mixup:
            labels = 0.7 * np.eye(3)[labels] + 0.3 * np.eye(3)[rng.permutation(labels)]
        good.append(Batch(rng.normal(size=(8, 4)), labels))
    first, second, third = good
    # A loss that is none; and finite loss and gradients, but the running variance overflows.
    none, large = (first._replace(inputs=first.inputs * factor) for factor in (np.nan, 1e200))
    return [none, large, first, none, second, large, large, third, none], good


class Batches:
    """A loader of given batches."""

    def __init__(self, batches: Sequence[Batch]):
        self._batches = batches

    def __len__(self) -> int:
        return len(self._batches)

    def size(self, number: int) -> int:
        return len(self._batches[number].labels)

    def epoch(self, _epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        return iter(self._batches[start:])


def train(framework: str, config: Config, net: torch.nn.Module, batches: Sequence[Batch]) -> End:
    """Train a copy of `net`, in either framework, by the framework's own loop."""
    loader: Any = Batches(batches)
    monitor = Monitor(len(batches), 1, Console(quiet=True), skip=True)
    if framework == "torchnets":
        net = copy.deepcopy(net)
        (end,) = torchnets.loop.fit(net, net.state_dict(), loader, config, monitor)
        params, evaluated = (flatten(to_flax(each)) for each in (net.state_dict(), end.variables))
        state = end.state()
    else:
        with jax.enable_x64(True):
            variables = jax.tree.map(jnp.asarray, to_flax(net.state_dict()))
            (end,) = jaxnets.loop.fit(FlaxNorm(), variables, loader, config, monitor)
            state, evaluated = end.state(), flatten(end.variables)
        names = [name for name in state if name.startswith("variables/")]
        params = {name.removeprefix("variables/"): state[name] for name in names}
    return End(params, evaluated, dict(state), monitor.read().skipped)


def by_hand(config: Config, net: torch.nn.Module, batches: Sequence[Batch], steps: int) -> tuple[Any, Any]:
    """Return PyTorch's weights, and their average, after a training of so many `steps` on the good batches alone."""
    net = copy.deepcopy(net)
    weights = [p for p in net.parameters() if p.ndim > 1]
    rest = [p for p in net.parameters() if p.ndim <= 1]
    decay = config.weight_decay
    groups = [{"params": weights}, {"params": rest, "weight_decay": 0 if config.decay_weights_only else decay}]
    rule = {
        "sgd": partial(torch.optim.SGD, weight_decay=decay),
        "momentum": partial(torch.optim.SGD, momentum=0.9, weight_decay=decay),
        "nesterov": partial(torch.optim.SGD, momentum=0.9, nesterov=True, weight_decay=decay),
        "adam": partial(torch.optim.Adam, weight_decay=decay),
        "adamw": partial(torch.optim.AdamW, weight_decay=decay),
        "rmsprop": partial(torch.optim.RMSprop, weight_decay=decay),
        "muon": partial(Muon, momentum=0.9, weight_decay=decay),
    }[config.optimizer](groups, lr=RATE)
    schedule = {
        "constant": lambda: lr_scheduler.ConstantLR(rule, 1.0),
        "step": lambda: lr_scheduler.StepLR(rule, steps // 3),
        "onecycle": lambda: lr_scheduler.OneCycleLR(rule, RATE, total_steps=steps, cycle_momentum=False),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(rule, steps),
        "warmup-cosine": lambda: lr_scheduler.CosineAnnealingLR(rule, steps),  # a tenth of nine steps is none
        "linear": lambda: lr_scheduler.LinearLR(rule, 1.0, 0.0, steps),
    }[config.schedule]()
    average: dict[str, torch.Tensor] = {}
    for batch in batches:
        rule.zero_grad()
        pieces = zip(*(torch.from_numpy(part).tensor_split(config.accumulate) for part in batch), strict=True)
        for inputs, labels in pieces:
            classes = functional.one_hot(labels.long(), 3).double() if labels.ndim == 1 else labels
            logits = net.train()(inputs)
            if config.loss == "bce":
                loss = functional.binary_cross_entropy_with_logits(logits, classes)
            else:
                loss = functional.cross_entropy(logits, classes, label_smoothing=config.label_smoothing)
            (loss * len(inputs) / len(batch.labels)).backward()
        if config.l1:
            penalty: Any = config.l1 * sum(p.abs().sum() for p in net.parameters())
            penalty.backward()
        if config.clip_norm:
            torch.nn.utils.clip_grad_norm_(net.parameters(), config.clip_norm)
        rule.step()
        schedule.step()
        for name, new in net.state_dict().items():
            mixes = name in average and new.is_floating_point()
            average[name] = config.ema * average[name] + (1 - config.ema) * new if mixes else new.clone()
    return flatten(to_flax(net.state_dict())), flatten(to_flax(average))


def assert_close(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for path, array in found.items():
        np.testing.assert_allclose(array, expected[path], rtol=1e-10, atol=1e-13, err_msg=path)


def check(frameworks: Sequence[str], config: Config) -> None:
    """Check that a training with bad batches is the one by hand that has never seen them."""
    torch.manual_seed(0)
    net = TorchNorm().double()
    batches, good = batches_of(config)
    expected, average = by_hand(config, net, good, len(batches))
    for framework in frameworks:
        end = train(framework, config, net, batches)
        assert_close(end.params, expected)
        assert_close(end.evaluated, average if config.ema else expected)
        for name, array in end.state.items():
            assert array.dtype.kind != "f" or np.isfinite(array).all(), name
        if config.ema:
            assert int(end.state["averaged"]) == len(good)
        assert end.skipped == len(batches) - len(good)


@pytest.mark.parametrize("optimizer", CASES)
def test_a_training_with_bad_batches_is_the_one_without_them(optimizer):
    check(("torchnets", "jaxnets"), config_of(optimizer))


# The bugs that such steps have had, here or elsewhere: each must be seen.


def starting_at_step_0(step: Any, decay: float) -> Any:
    def averaged_step(state: AveragedState, batch: Any) -> Any:
        after: TrainState
        after, metrics = step(TrainState(state.step, state.variables, state.opt_state, state.key), batch)
        average = update_average(state.average, after.variables, state.step, decay)
        return AveragedState(*after, average, state.averaged + 1), metrics

    return averaged_step


def sparing_the_optimizer_alone(step: Any) -> Any:
    def careful(state: Any, batch: Any) -> Any:
        after, metrics = step(state, batch)
        finite = jaxnets.skipping.is_finite(metrics)
        keep = partial(jax.tree.map, partial(jnp.where, finite))
        params = keep(after.variables["params"], state.variables["params"])
        kept = after._replace(
            variables={**after.variables, "params": params}, opt_state=keep(after.opt_state, state.opt_state)
        )
        return kept, {**metrics, "skipped": ~finite}

    return careful


def leaving_the_statistics(step: Any, average: Any) -> Any:
    careful = torchnets.skipping.skip_not_finite(step, average)

    def careless(model: Any, optimizer: Any, batch: Any, *, loss: Any) -> Any:
        metrics = careful(model, optimizer, batch, loss=loss)
        if metrics.get("skipped"):
            model.bn.num_batches_tracked += 1
        return metrics

    return careless


def without_a_word(step: Any, average: Any) -> Any:
    careful = torchnets.skipping.skip_not_finite(step, average)

    def silent(*args: Any, **options: Any) -> Any:
        metrics = careful(*args, **options)
        return {name: value for name, value in metrics.items() if name != "skipped"}

    return silent


def remembering_tensors_alone(tensors: Any, _optimizer: Any, remember: Any = torchnets.skipping._remember) -> Any:
    return remember(tensors, SimpleNamespace(state={}))


PLANTED = {
    "the average starts at a skipped step": ("jaxnets", jaxnets.compose, "with_average", starting_at_step_0),
    "statistics take what is skipped": ("jaxnets", jaxnets.compose, "skip_not_finite", sparing_the_optimizer_alone),
    "the result is not looked at": ("jaxnets", jaxnets.skipping, "all_finite", lambda _: jnp.array(True)),
    "nor in PyTorch": ("torchnets", torchnets.skipping, "all_finite", lambda _: True),
    "counts of skipped batches": ("torchnets", torchnets.compose, "skip_not_finite", leaving_the_statistics),
    "the schedule goes on": ("torchnets", torchnets.compose, "skip_not_finite", without_a_word),
    "the optimizer forgets": ("torchnets", torchnets.skipping, "_remember", remembering_tensors_alone),
}


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_seen(bug, monkeypatch):
    framework, module, name, wrong = PLANTED[bug]
    monkeypatch.setattr(module, name, wrong)
    with pytest.raises(AssertionError):
        check((framework,), config_of(PLAIN))
