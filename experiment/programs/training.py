"""Training from a Python program: nothing is written unless a run folder is named, and no signal is caught."""

import json
import warnings
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from data import Dataset, Loader, UserError, from_arrays
from data.terminal import SIGNALLED
from data.workers import Workers
from experiment.config import Config
from experiment.console import make_console, say
from experiment.distributed.agreement import Group
from experiment.distributed.environment import ProcessInfo
from experiment.loop.early_stopping import BestEpoch, is_over
from experiment.loop.frozen import with_features
from experiment.loop.metrics import Score, finite, shown
from experiment.loop.monitor import Epoch, Monitor
from experiment.loop.session import Session, score_splits
from experiment.loop.setup import set_up
from experiment.loop.task import describe_inputs, training_loader
from experiment.loop.training import train
from experiment.programs.keywords import config_of, in_python
from experiment.programs.networks import Bound, entry_of, name_of
from experiment.programs.result import Framework, Result, Trained
from experiment.registry import Models
from experiment.runs.folder import METRICS, WEIGHTS
from experiment.runs.resume import fingerprint
from experiment.runs.snapshot import bad_tensors
from experiment.weights.safetensors_file import read_weights

ARRAYS = ":arrays"  # the name of a dataset of arrays
SPLITS = ("train", "validation", "test")
Rows = list[dict[str, Any]]


def fit(
    framework: Framework, model: Any, dataset: Any, variables: Any, *, verbose: bool, options: Mapping[str, Any]
) -> Result:
    """Train a network, by its name or a module, on a dataset; see `jaxnets.program.fit`.

    Raises:
        UserError: an option, the network or the data are not what is expected.
    """
    try:
        return _fit(framework, model, dataset, variables, verbose=verbose, options=options)
    except UserError as error:
        raise in_python(error) from None


def _fit(
    framework: Framework, model: Any, dataset: Any, variables: Any, *, verbose: bool, options: Mapping[str, Any]
) -> Result:
    named, (data_name, given) = name_of(model), _dataset(dataset)
    config = config_of(named.name, data_name, options)
    bound: Any = (
        _bind(framework, model, config) if named.is_object else Bound(framework.backend, framework.backend.MODELS)
    )
    console = make_console(quiet=not verbose)
    with ExitStack() as stack:
        stack.enter_context(framework.settings(config))
        group = stack.enter_context(Group(ProcessInfo()))
        saves = config.out is not None
        session, first = set_up(framework.name, bound, config, group, console, stack, given, saves=saves)
        assert session is not None
        start = framework.weights(model) if variables is None and named.is_object and not config.weights else variables
        if start is not None:
            first = bound.restore(first, bound.export(start))
        for line in session.task.warnings:
            warnings.warn(line, UserWarning, stacklevel=5)
        trained, rows, summary = _saved(session, first) if saves else _in_memory(session, first)
        trained = bound.restore(trained, bound.export(trained))  # copies: the training may go on with its own
        scores = score_splits(session, trained, SPLITS)
        summary = {**summary, **(session.about | _figures(session, scores))} if not saves else summary
    module = framework.unwrap(session.model, trained)
    raw = given.train.inputs.dtype if given else session.task.dataset.train.inputs.dtype
    dtype = "" if given is None and config.frontend != "none" else raw.name
    shape, inputs = session.task.entry.input_shape, describe_inputs(session.task)
    about = Trained(framework, session.config, session.model, shape, inputs, dtype, rows, summary)
    state = bound.last.state.args[0] if bound.last else None
    return Result(module, trained, state, scores, config.out, about)


def _dataset(dataset: Any) -> tuple[str, Dataset | None]:
    """Return the name of a dataset, and the dataset itself unless the name says it."""
    if isinstance(dataset, (str, Path)):
        return str(dataset), None
    if isinstance(dataset, Dataset):
        return dataset.name or ARRAYS, dataset
    if isinstance(dataset, (tuple, list)) and len(dataset) == 2:
        return ARRAYS, from_arrays(*dataset)
    what = "a loader, whose dataset is wanted" if isinstance(dataset, Loader) else f"{type(dataset).__name__}"
    raise UserError(
        f"fit: expected a dataset's name, a folder, data.load(...), data.from_arrays(...) or a pair (inputs, labels); "
        f"found {what}"
    )


def _bind(framework: Framework, model: Any, config: Config) -> Bound:
    framework.check(model)
    for name in ("dropout", "like_torchvision"):
        if getattr(config, name) != getattr(Config, name):
            raise UserError(f"fit: {name} is for a network that is named; a module has its own already")
    name, backend = config.model, framework.backend
    entry = entry_of(backend.MODELS, model, name, framework.wrap, rebuild=framework.rebuilds)
    if config.input_shape and not entry.input_shape:
        entry = entry._replace(input_shape=tuple(map(int, config.input_shape.split(","))))
    return Bound(backend, Models(framework.name, {**backend.MODELS, name: entry}))


def _saved(session: Session, variables: Any) -> tuple[Any, Rows, dict[str, Any]]:
    """Train as the command line does, in the run folder."""
    result = train(session, variables)
    if result.code > SIGNALLED:
        raise KeyboardInterrupt(f"the training is saved; the command line goes on with --resume {session.folder}")
    lines = (session.folder / METRICS).read_text(encoding="utf-8").splitlines()
    trained = session.backend.restore(variables, read_weights(session.folder / WEIGHTS))
    return trained, [json.loads(line) for line in lines], result.summary


def _in_memory(session: Session, variables: Any) -> tuple[Any, Rows, dict[str, Any]]:
    """Train without a run folder: the same steps and the same choice of the best epoch."""
    session = with_features(session, variables)
    config, backend, best = session.config, session.backend, BestEpoch()
    loader: Any = training_loader(config, session.task)
    epochs: list[Epoch] = []
    rows: Rows = []
    with ExitStack() as stack:
        if config.workers:
            loader = stack.enter_context(Workers(loader, config.workers))
        monitor = Monitor(len(loader), config.epochs, session.console, skip=config.on_nan == "skip", catch=False)
        stack.enter_context(monitor)
        if config.epochs:
            for state in backend.fit(session.model, variables, loader, config, monitor):
                variables = state.variables
                skipped = monitor.read()
                _check_finite(monitor, state.state(), state.epoch)
                epochs.append(monitor.end())
                if skipped.skipped == skipped.steps:
                    raise UserError(f"epoch {len(epochs)} trained nothing: no step was finite; try a smaller lr")
                scores = score_splits(session, variables, SPLITS[1:])
                rows += _rows(len(epochs), epochs[-1], scores)
                export = (lambda weights=variables: backend.export(weights)) if config.patience else None
                step = len(epochs) * len(loader)
                best = best.after(config, len(epochs), step, scores["validation"], export)
                say(session.console, _line(config, len(epochs), rows))
                if is_over(config, len(epochs), best):
                    break
    if config.patience and best.epoch:
        variables = backend.restore(variables, best.weights)
    rates = [epoch.examples / epoch.seconds for epoch in epochs if epoch.examples]
    speed = float(np.median(rates[1:] or rates)) if rates else None
    seconds = sum(epoch.seconds for epoch in epochs)
    return variables, rows, {"examples_per_second": speed, "epochs": len(epochs), "seconds": seconds}


def _check_finite(monitor: Monitor, state: Mapping[str, np.ndarray], epoch: int) -> None:
    advice = "try a smaller lr, clip_norm=1 or on_nan='skip'"
    if bad := monitor.bad:
        numbers = f"loss {bad.loss}, norm of the gradients {bad.grad_norm}"
        raise UserError(f"batch {bad.number + 1} of epoch {epoch + 1} is not finite: {numbers}; {advice}")
    if tensors := bad_tensors(state):
        raise UserError(f"epoch {epoch + 1} leaves a state that is not finite: {', '.join(tensors[:3])}; {advice}")


def _rows(number: int, epoch: Epoch, scores: Mapping[str, Score]) -> Rows:
    train = {"loss": finite(epoch.loss), "accuracy": finite(epoch.accuracy)}
    results = {"train": train, **{name: found.as_dict() for name, found in scores.items()}}
    return [{"epoch": number, "split": split, **found} for split, found in results.items()]


def _line(config: Config, number: int, rows: Rows) -> str:
    last = [row for row in rows if row["epoch"] == number]
    parts = [f"{row['split']} {shown(row['loss'], '6.4f')} {shown(row['accuracy'], '7.2%')}" for row in last]
    return f"epoch {number:2}/{config.epochs}  {'  '.join(parts)}"


def _figures(session: Session, scores: Mapping[str, Score]) -> dict[str, Any]:
    """Return what a run's summary.json holds beside what is known before the training."""
    classes = session.task.dataset.classes
    found: dict[str, Any] = {name: one.as_dict() for name, one in scores.items()}
    found["test"] |= scores["test"].of_classes(classes)
    return found | {"inputs": describe_inputs(session.task), "data": fingerprint(session.task)}
