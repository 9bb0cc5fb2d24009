"""The command that classifies files with a run of either framework: `python -m jaxnets.predict RUN FILE...`."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import tyro

from data import DataError, Dataset, Loader, Split, UserError, Windows, apply_frontend, fit_to
from data.datasets.folder import read_picture
from data.sound import read_windows
from data.terminal import command, outlive, printable
from experiment.arguments import parse_arguments
from experiment.backend import Backend
from experiment.cli.command import load_framework
from experiment.cli.evaluate_weights import WeightsArguments, check_options, config_of
from experiment.cli.predictions import check_out, write_predictions
from experiment.config import Config
from experiment.loop.evaluation import evaluation_batch
from experiment.loop.metrics import probabilities
from experiment.loop.task import all_windows, describe_inputs, input_dtype, mean_over_windows, network, prepare
from experiment.registry import Entry, with_shape
from experiment.runs import folder as run_folder
from experiment.runs.inputs import read_inputs
from experiment.runs.source import locate
from experiment.weights.pretrained import as_built, start

TOP = 5
DATA = ("data_dir", "cache_dir", "on_bad_file")  # how the dataset of --weights is read


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Classify pictures or sounds of any usual format with a trained network: the likeliest classes of each file."""

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """Run folder, trained by either framework; none with --weights."""
    files: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Files to classify."""
    top: int = TOP
    """How many of the likeliest classes to give."""
    out: Path | None = None
    """Write the predictions into this new file, .csv or .json, instead of printing them."""
    overwrite: bool = False
    """Replace --out if it exists."""
    probabilities: bool = False
    """With --out: write the probabilities of all classes."""
    data_dir: Path | None = None
    """With --weights: the folder of the datasets."""
    cache_dir: Path | None = None
    """With --weights: the folder of the decoded files of own folders."""
    on_bad_file: Literal["stop", "skip"] | None = None
    """With --weights: when files of an own folder cannot be read: stop, or leave them out."""
    in_place_of_run: Annotated[WeightsArguments, tyro.conf.arg(name="")] = dataclasses.field(
        default_factory=WeightsArguments
    )


class Network(NamedTuple):
    """A trained network, and what it is trained on."""

    config: Config
    entry: Entry
    about: dict[str, Any]  # see `describe_inputs`
    start: Callable[[Any], Any]  # returns its variables, given the initial ones
    warnings: Sequence[str] = ()


def main(framework: str) -> None:
    """Run the command with "jaxnets" or "torchnets"."""
    command(lambda: _main(framework, sys.argv[1:]))


def _main(framework: str, argv: list[str]) -> int:
    arguments = _checked(parse_arguments(Arguments, argv, f"python -m {framework}.predict"))
    read = _of_run if arguments.run else _of_weights
    backend = load_framework(framework)
    config, entry, about, started, warnings = read(backend, arguments)
    files, found = read_good_files(arguments.files, about, config, entry.input_shape)
    if found is None:
        return 1
    for line in warnings:
        print(f"warning: {line}", file=sys.stderr)
    examples, windows = found
    backend.set_precision(config)
    model, template = backend.create(with_shape(entry, examples.inputs.shape[1:]), len(about["classes"]), config.seed)
    mean, std = (np.array(about[name], np.float32) for name in ("mean", "std"))
    size = evaluation_batch(config, examples.inputs.shape[1:])
    loader = Loader(all_windows(examples, windows), mean, std, size, dtype=input_dtype(config))
    logits = mean_over_windows(backend.predict(model, started(template), loader, config), windows)
    _give(arguments, files, about["classes"], probabilities(logits, config.loss))
    return 1 if len(files) < len(arguments.files) else 0


def _checked(arguments: Arguments) -> Arguments:
    """Return the arguments, the first file among the files if there is no run folder.

    Raises:
        UserError: they do not go together.
    """
    given = arguments.in_place_of_run
    if given.weights is not None and arguments.run:
        arguments = dataclasses.replace(arguments, run=None, files=(arguments.run, *arguments.files))
    check_options(arguments.run, given)
    if arguments.run and (extra := [name for name in DATA if getattr(arguments, name)]):
        option = f"--{extra[0].replace('_', '-')}"
        raise UserError(f"{option} goes with --weights FILE; a run folder says itself what its inputs are")
    if not arguments.files:
        behind = "the run folder" if arguments.run else "the options"
        raise UserError(f"no file to classify is named; give some behind {behind}")
    if arguments.top < 1:
        raise UserError(f"--top is {arguments.top}, expected at least 1")
    if arguments.out:
        check_out(arguments.out, overwrite=arguments.overwrite)
    elif arguments.probabilities or arguments.overwrite:
        raise UserError("--probabilities and --overwrite go with --out FILE.csv or FILE.json")
    return arguments


def _of_run(backend: Backend, arguments: Arguments) -> Network:
    assert arguments.run
    config, weights = run_folder.read_run(arguments.run)
    config, lines = locate(config, arguments.run, arguments.in_place_of_run.model)
    about = read_inputs(arguments.run)
    entry = as_built(network(config, backend.MODELS), config, backend.MODELS)
    return Network(config, entry, about, lambda template: backend.restore(template, weights), lines)


def _of_weights(backend: Backend, arguments: Arguments) -> Network:
    """Return a network with weights of a file; inputs are those of the dataset."""
    about = {name: value for name in DATA if (value := getattr(arguments, name))}
    config = config_of(arguments.in_place_of_run, backend, about)
    task = prepare(config, backend.MODELS)
    entry = as_built(task.entry, config, backend.MODELS)

    def started(template: Any) -> Any:
        variables, line = start(backend, template, config, trains=False)
        print(line, file=sys.stderr)
        return variables

    return Network(config, entry, describe_inputs(task), started)


def _give(arguments: Arguments, files: Sequence[Path], classes: Sequence[str], shares: np.ndarray) -> None:
    """Print the likeliest classes of each file, or write them."""
    names = [str(path) for path in files]
    if arguments.out:
        outlive()
        write_predictions(arguments.out, names, classes, shares, arguments.top, every=arguments.probabilities)
        print(printable(f"{len(names):,} predictions in {arguments.out}"))
        return
    names, classes = ([printable(one) for one in group] for group in (names, classes))
    width = max(map(len, names))
    for name, row in zip(names, shares, strict=True):
        likeliest = np.argsort(-row, kind="stable")[: arguments.top]
        print(f"{name:{width}}  " + ", ".join(f"{classes[at]} {row[at]:.2%}" for at in likeliest))


def read_good_files(
    files: Sequence[Path], about: dict[str, Any], config: Config, input_shape: tuple[int, ...]
) -> tuple[Sequence[Path], tuple[Split, Windows | None] | None]:
    """Return the files that can be read, and what `read_files` makes of them; None if there are none.

    An error on standard error names each of the others.
    """
    try:
        return files, read_files(files, about, config, input_shape)
    except DataError:  # which says no more than the first
        good, bad = [], []
    for path in files:
        try:
            read_files([path], about, config, input_shape)
            good.append(path)
        except DataError as error:
            bad.append(f"error: {error}\n")
    sys.stderr.write("".join(dict.fromkeys(bad)))
    return good, read_files(good, about, config, input_shape) if good else None


def read_files(
    files: Sequence[Path], about: dict[str, Any], config: Config, input_shape: tuple[int, ...]
) -> tuple[Split, Windows | None]:
    """Read files and preprocess them like the training examples.

    Returns:
        The examples, and the further windows of sounds that are longer than the training examples.

    Raises:
        DataError: a file is missing or of the wrong kind.
    """
    shape, windows = tuple(about["shape"]), None
    if len(shape) == 3:  # first to the size of the dataset, so that the padding is the same
        depth = about.get("depth") or (16 if config.data_rules == "0.1" else None)
        inputs = np.stack([read_picture(path, shape[0], shape[1], depth) for path in files])
    else:
        inputs, windows = read_windows(files, shape[0], about["rate"])
    split = Split(inputs, np.zeros(len(files), np.int32))
    unused = np.ones(inputs.shape[-1], np.float32)
    more = {"test": windows} if windows else {}
    dataset = Dataset(split, split, tuple(about["classes"]), unused, unused, rate=about["rate"], windows=more)
    if len(shape) == 3:
        dataset, _ = fit_to(dataset, shape)
    dataset, _ = apply_frontend(dataset, config.frontend)
    dataset, _ = fit_to(dataset, input_shape or dataset.train.inputs.shape[1:])
    return dataset.test, dataset.windows.get("test")
