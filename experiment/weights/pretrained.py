"""--weights: starting a training from given weights instead of random ones."""

import dataclasses
import socket
import sys
from collections.abc import Mapping
from functools import partial
from inspect import signature
from pathlib import Path
from typing import Any

import numpy as np

from data.errors import UserError
from experiment.backend import Backend
from experiment.config import TORCHVISION, Config, load_config
from experiment.extras import needs_torch
from experiment.registry import Entry
from experiment.runs.checkpoint import MANIFEST
from experiment.runs.folder import CONFIG, WEIGHTS
from experiment.weights.conversion import COUNTER, belongs, dtype_note
from experiment.weights.files import read_noted, without_auxiliary
from experiment.weights.input_transform import expects_transform
from experiment.weights.loaded import to_arrays
from experiment.weights.names import by_own_names
from experiment.weights.normalisation import of_imagenet, takes_colour

TIMEOUT = 30  # seconds without an answer before a download fails


def settle(config: Config, models: Mapping[str, Entry]) -> Config:
    """Return `config` with what --weights implies: how the network is built, and how inputs are normalised.

    Torchvision's weights need inputs transformed as torchvision does. Weights for ImageNet's 1,000 classes need its
    mean and deviation, and those of a run the kind of statistics that the run had.

    Raises:
        UserError: torchvision has no weights of that network, or the run folder to start from has no config.json.
    """
    if config.weights == TORCHVISION:
        known = [name for name, entry in models.items() if entry.torchvision]
        if config.model in models and config.model not in known:
            some = f"it has those of {', '.join(known)}" if known else "it has those of no network here"
            raise UserError(f"--weights torchvision: torchvision has no weights of '{config.model_name}'; {some}")
        config = dataclasses.replace(config, like_torchvision=True)
        return _with_statistics(config, models, imagenet=True)
    if not config.weights:
        return _with_statistics(config, models, imagenet=False)
    path = Path(config.weights).expanduser()
    if run := _run_of(path):
        before = load_config(run / CONFIG)
        like = config.like_torchvision or before.like_torchvision
        config = dataclasses.replace(config, like_torchvision=like)
        return _with_statistics(config, models, imagenet=before.normalize == "imagenet")
    entry, tensors = models.get(config.model), {}
    if path.exists() and entry and (entry.pretrained or entry.torchvision):
        tensors = read_noted(path).tensors
    if entry and entry.pretrained and not config.like_torchvision and expects_transform(tensors):
        config = dataclasses.replace(config, like_torchvision=True)
    return _with_statistics(config, models, imagenet=config.like_torchvision or of_imagenet(tensors))


def _with_statistics(config: Config, models: Mapping[str, Entry], *, imagenet: bool) -> Config:
    """Return `config` with the choice that --normalize auto leaves open."""
    if config.normalize != "auto":
        return config
    imagenet = imagenet and takes_colour(models.get(config.model), config)
    return dataclasses.replace(config, normalize="imagenet" if imagenet else "data")


def _run_of(path: Path) -> Path | None:
    """Return the run folder that weights are from; None if they are a file of another origin."""
    if (path / MANIFEST).is_file():  # a checkpoint lies in its run
        return path.parents[1]
    if (path / CONFIG).is_file() and (path / WEIGHTS).is_file():
        return path
    return path.parent if path.name == WEIGHTS and (path.parent / CONFIG).is_file() else None


def as_built(entry: Entry, config: Config, models: Mapping[str, Entry]) -> Entry:
    """Return `entry` with the options of `config` bound to its `build`: torchvision's inputs, the dropout rate.

    Raises:
        UserError: a dropout rate for a network without dropout; names the networks that have it.
    """
    options = dict(entry.pretrained) if config.like_torchvision else {}
    if config.dropout is not None:
        if not (name := _dropout(entry)):
            others = ", ".join(other for other, entry in models.items() if _dropout(entry))
            raise UserError(f"--dropout: '{config.model_name}' has none; these have: {others}")
        options[name] = config.dropout
    return entry._replace(build=partial(entry.build, **options))


def _dropout(entry: Entry) -> str:
    """Return the name of a network's dropout rate; empty if there is none or its default is None."""
    parameters = signature(entry.build).parameters
    names = ("dropout", "dropout_rate")  # the second where torchvision has a layer of the first name
    return next((name for name in names if name in parameters and parameters[name].default is not None), "")


def start(backend: Backend, variables: Any, config: Config, *, trains: bool = True) -> tuple[Any, str]:
    """Return the initial variables and a line that names their source; "" if they are random.

    Raises:
        UserError: the weights cannot be read or do not fit; counts the tensors that do not and names the first.
    """
    if config.weights is None:
        return variables, ""
    entry, source, note = backend.MODELS[config.model], config.weights, ""
    if config.weights == TORCHVISION:
        weights, source = download(entry.torchvision)
    else:
        weights, note = read_noted(Path(config.weights))
    head = entry.head if config.new_head else ""
    own = backend.export(variables)
    try:
        weights, renamed = by_own_names(weights, own)
        weights, left_out = without_auxiliary(weights, entry)
        restored = backend.restore(variables, weights, head)
        notes = (note, renamed, _inputs(entry, weights, config), _statistics(entry, config))
        notes = "".join(f"; {one}" for one in notes if one)
        return restored, _line(own, weights, source, head) + notes + dtype_note(weights, own) + left_out
    except UserError as error:
        hint = ""
        if not head and _fits(backend, variables, weights, entry.head):
            hint = f"; only the layer {entry.head} differs: "
            if trains:
                hint += "--new-head starts it at random and takes the rest"
            else:
                hint += f"the weights are for other classes than those of {config.dataset_name}"
        raise UserError(f"--weights {source}: {error}{hint}") from None


def _inputs(entry: Entry, weights: Mapping[str, np.ndarray], config: Config) -> str:
    """Return a note about the input transform that a file's weights need; warn if that cannot be told."""
    if not entry.pretrained or config.weights == TORCHVISION or _run_of(Path(config.weights or "").expanduser()):
        return ""
    if config.like_torchvision:
        return "inputs are transformed as torchvision's weights expect (--like-torchvision)"
    if expects_transform(weights) is None:
        print(
            f"warning: {config.weights}: if these weights are torchvision's or made from them, they expect its input "
            "transform: add --like-torchvision",
            file=sys.stderr,
        )
    return ""


def _statistics(entry: Entry, config: Config) -> str:
    """Return a note about a file whose weights may need ImageNet's statistics, which the inputs do not have."""
    if config.normalize != "data" or not entry.torchvision or not takes_colour(entry, config):
        return ""
    if _run_of(Path(config.weights or "").expanduser()):
        return ""
    return "inputs are normalised by the dataset's own mean and deviation (--normalize data)"


def download(name: str) -> tuple[dict[str, np.ndarray], str]:
    """Return the pretrained weights of torchvision's network `name`, and what torchvision calls them.

    The file is torchvision's: fetched into its cache, checked there by its SHA-256, and read as tensors alone.

    Raises:
        UserError: torchvision is missing, or the file cannot be fetched, or is not what it should be.
    """
    try:
        from torchvision.models import get_model_weights  # here: it takes seconds, and JAX users may not have it
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in ("torch", "torchvision"):
            raise
        raise needs_torch("--weights torchvision") from None
    choice: Any = get_model_weights(name)["DEFAULT"]
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(TIMEOUT)  # PyTorch sets none: a server that says nothing would hold us for ever
    try:
        # Not get_model(name, weights=...): that reads the file with a pickle that runs code.
        found = choice.get_state_dict(
            progress=sys.stderr.isatty(), check_hash=True, map_location="cpu", weights_only=True
        )
    except Exception as error:  # of the network, of the disk, a wrong hash, or whatever damaged bytes lead to
        raise UserError(f"--weights torchvision: {_why(error, choice.url)}") from None
    finally:
        socket.setdefaulttimeout(before)
    return to_arrays(found, choice.url), f"torchvision, {choice}"


def _why(error: Exception, url: str) -> str:
    """Return why a download failed: the network, or a damaged file from an earlier download."""
    import torch  # as torchvision is there, so is this

    cached = Path(torch.hub.get_dir(), "checkpoints", url.rpartition("/")[2])
    if cached.exists() and not isinstance(error, OSError):
        return f"{cached} is damaged; delete it, and it is fetched anew"
    reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return f"{url} cannot be had ({reason}); if you have that file: --like-torchvision --weights FILE"


def _fits(backend: Backend, variables: Any, weights: Mapping[str, np.ndarray], head: str) -> bool:
    try:
        backend.restore(variables, weights, head)
    except UserError:
        return False
    return True


def _line(own: Mapping[str, np.ndarray], weights: Mapping[str, np.ndarray], source: str, head: str) -> str:
    new = {name: array.shape for name, array in own.items() if head and belongs(name, head)}
    counters = [name for name in own.keys() - new.keys() if name.endswith(COUNTER)]
    if any(name.endswith(COUNTER) for name in weights):
        counters = []
    line = f"weights: {len(own) - len(new) - len(counters)} tensors from {source}"
    if new:
        line += f"; new: {', '.join(f'{name} {shape}' for name, shape in new.items())}"
    if counters:
        line += f"; it has no counters of batches: {len(counters)} start at 0"
    return line
