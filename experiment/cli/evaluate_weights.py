"""Evaluating weights that no run folder describes: `python -m jaxnets.evaluate --weights FILE --model NAME ...`."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from data import UserError
from experiment.backend import Backend
from experiment.cli.command import load_framework
from experiment.config import Config
from experiment.console import make_console, say
from experiment.loop.task import prepare, score_split
from experiment.runs.summary import print_scores
from experiment.weights.pretrained import as_built, settle, start


@dataclasses.dataclass(frozen=True)
class WeightsArguments:
    """The options of `evaluate` and `predict` that replace a run folder."""

    weights: str | None = None
    """Take these in place of a run: a file of weights in any usual format of either framework, or the word
    torchvision; with --model and --dataset."""
    model: str | None = None
    """With --weights: the network, see --list-models of train. With a run: where its network is, if it is one of
    your own that has moved, my_net.py:Net."""
    dataset: str | None = None
    """With --weights: the dataset, or the path of a folder of pictures or sounds."""
    clip_seconds: float = 0.0
    """With --weights and own sounds: the length of the examples, as in train."""
    sample_rate: int = 0
    """With --weights and own sounds: their rate in Hz, as in train."""
    frontend: Literal["none", "logmel"] = "none"
    """With --weights: what audio becomes for a network that takes images."""
    normalize: Literal["auto", "data", "imagenet"] = "auto"
    """With --weights: mean and deviation of the inputs, those of the dataset or ImageNet's; auto takes imagenet for
    weights of its 1,000 classes."""
    loss: Literal["cross-entropy", "bce"] = "cross-entropy"
    """With --weights: the loss that the network was trained with."""
    like_torchvision: bool = False
    """With --weights: build the network as torchvision's weights need it (GoogLeNet: inputs transformed)."""


def check_options(run: Path | None, given: WeightsArguments) -> None:
    """Raise a UserError if neither or both of a run folder and --weights are given."""
    if given.weights is None:
        if run is None:
            raise UserError("no run folder is named; or give --weights FILE --model NAME --dataset NAME")
        fields = [field for field in dataclasses.fields(WeightsArguments) if field.name != "model"]  # see `locate`
        if extra := [field.name for field in fields if getattr(given, field.name) != field.default]:
            raise UserError(f"--{extra[0].replace('_', '-')} goes with --weights FILE; a run folder says that itself")
        return
    if run is not None:
        raise UserError(f"{run} and --weights {given.weights} both say what to evaluate; give one of them")
    if missing := [f"--{name}" for name in ("model", "dataset") if not getattr(given, name)]:
        raise UserError(f"--weights does not say what to evaluate it on; give {' and '.join(missing)}, too")


def config_of(given: WeightsArguments, backend: Backend, about: Mapping[str, Any]) -> Config:
    """Return the options of a network with these weights, and those in `about`."""
    options = {field.name: getattr(given, field.name) for field in dataclasses.fields(WeightsArguments)}
    return settle(Config(**options, **about), backend.MODELS)


def evaluate_weights(framework: str, given: WeightsArguments, about: Mapping[str, Any]) -> int:
    """Print the table of a network with these weights; `about` has further options of `Config`."""
    backend, console = load_framework(framework), make_console()
    config = config_of(given, backend, about)
    task = prepare(config, backend.MODELS)
    backend.set_precision(config)
    entry = as_built(task.entry, config, backend.MODELS)
    model, template = backend.create(entry, len(task.dataset.classes), config.seed)
    variables, line = start(backend, template, config, trains=False)
    say(console, line)
    if task.note:
        say(console, task.note)
    for warning in task.warnings:
        say(console, f"warning: {warning}")
    scores = {name: score_split(backend, model, variables, task, name, config) for name in task.splits}
    print_scores(console, scores, task.dataset.classes)
    return 0
