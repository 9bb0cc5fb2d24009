"""What the pictures show, computed by a framework: in float64, then rounded, so that both draw the same."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from data import Loader, Split, UserError, Windows
from data.arrays import full_scale
from data.registry import nearest
from data.rows import select
from experiment.activations import Activation, Kernel, Pool, common_name, settle
from experiment.backend import Backend
from experiment.config import Config
from experiment.loop.evaluation import evaluation_batch
from experiment.loop.metrics import probabilities
from experiment.loop.task import all_windows, mean_over_windows
from experiment.registry import Entry
from experiment.visualize.album import Findings
from experiment.visualize.mistakes import MOST, Mistake, worst
from experiment.visualize.subject import Subject

FEW = 2**21  # values of test examples that are all computed in float64
CANDIDATES = 4 * MOST  # of more, the mistakes that are computed again in float64


class Trained(NamedTuple):
    """A network and its weights, not yet made by the framework: it is, in two precisions."""

    config: Config
    entry: Entry
    weights: Mapping[str, np.ndarray]
    about: Mapping[str, Any]  # see `describe_inputs`

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes."""
        return self.about["classes"]

    def subject(self, inputs: np.ndarray) -> Subject:
        """Return an example (..., C), as stored, as it is drawn."""
        values = np.asarray(inputs, np.float64) / full_scale(inputs.dtype)
        rate = self.about["rate"]
        return Subject(values, rate, bool(rate) and values.ndim == 3)


class Made(NamedTuple):
    """A network with its variables, of a framework."""

    backend: Backend
    trained: Trained
    config: Config
    model: Any
    variables: Any

    def loader(self, split: Split, size: int) -> Loader:
        """Return the loader that normalises examples as in the training."""
        mean, std = (np.array(self.trained.about[name], np.float32) for name in ("mean", "std"))
        dtype = np.float64 if self.config.precision == "float64" else np.float32
        return Loader(split, mean, std, size, dtype=dtype)

    def shares(self, split: Split, windows: Windows | None) -> np.ndarray:
        """Return the probabilities (N, classes) of examples."""
        loader = self.loader(all_windows(split, windows), evaluation_batch(self.config, split.inputs.shape[1:]))
        logits = mean_over_windows(self.backend.predict(self.model, self.variables, loader, self.config), windows)
        return probabilities(logits, self.config.loss)


def make(backend: Backend, trained: Trained, precision: Any) -> Made:
    """Make the network in a precision, without test-time augmentation."""
    config = dataclasses.replace(trained.config, precision=precision, tta="none")
    backend.set_precision(config)
    model, template = backend.create(trained.entry, len(trained.classes), config.seed)
    return Made(backend, trained, config, model, backend.restore(template, trained.weights))


def study(
    backend: Backend, trained: Trained, example: np.ndarray, asked: str | None, tested: Split | None, windows: Any
) -> Findings:
    """Return what a network computes for one example (..., C), as stored, and its mistakes.

    Args:
        backend: the framework.
        trained: the network.
        example: what it is given.
        asked: the layer whose filters are drawn, and at whose output Grad-CAM looks; None: the first with filters,
            and the last with positions.
        tested: the test examples, if there are any.
        windows: the further windows of the long ones, or None.

    Raises:
        UserError: there is no such layer.
    """
    first = None
    if tested and tested.inputs.size > FEW:  # in float32, which is quicker
        precision = "float64" if trained.config.precision == "float64" else "float32"
        first = make(backend, trained, precision).shares(tested, windows)
    made = make(backend, trained, "float64")
    found = _look(made, example, asked)
    if not tested:
        return found
    if first is None:
        first = settle(made.shares(tested, windows))
        mistakes = _mistakes(made, tested, first, worst(first, tested.labels))
    else:  # what may be among the worst again in float64, so that rounding orders none
        rows = np.sort(worst(first, tested.labels, CANDIDATES))
        part, chosen = _part(tested, windows, rows)
        shares = settle(made.shares(part, chosen)) if len(rows) else first[rows]
        mistakes = _mistakes(made, part, shares, worst(shares, part.labels), rows)
    wrong = int((first.argmax(axis=1) != tested.labels).sum())
    words = f"{wrong:,} of {len(tested.labels):,} test examples are classified wrongly"
    return found._replace(mistakes=mistakes, tested=words)


def _part(tested: Split, windows: Windows | None, rows: np.ndarray) -> tuple[Split, Windows | None]:
    """Return some rows, in ascending order, of a split."""
    part = Split(select(tested.inputs, rows), tested.labels[rows])
    if windows is None or not (mask := np.isin(windows.owners, rows)).any():
        return part, None
    return part, Windows(select(windows.inputs, mask), np.searchsorted(rows, windows.owners[mask]))


def _mistakes(
    made: Made, split: Split, shares: np.ndarray, chosen: np.ndarray, numbers: np.ndarray | None = None
) -> list[Mistake]:
    """Return the chosen examples of a split with their probabilities; `numbers` are those in the test split."""
    trained, inputs = made.trained, np.asarray(select(split.inputs, chosen))
    return [
        Mistake(
            int(at if numbers is None else numbers[at]),
            trained.subject(values),
            trained.classes[int(split.labels[at])],
            trained.classes[int(shares[at].argmax())],
            float(shares[at].max()),
        )
        for at, values in zip(chosen, inputs, strict=True)
    ]


def _look(made: Made, example: np.ndarray, asked: str | None) -> Findings:
    backend, trained = made.backend, made.trained
    split = Split(example[None], np.zeros(1, np.int32))
    given = (made.model, made.variables, next(made.loader(split, 1).epoch()).inputs)
    kernels = backend.kernels(*given)
    layer = _layer(asked, kernels) if asked is not None else _first(kernels)
    activations = {
        name: Activation(kind, settle(values)) for name, (kind, values) in backend.activations(*given).items()
    }
    shares = settle(made.shares(split, None))[0]
    label = shares[None].argmax(axis=1)
    cam = _cam_layer(activations, layer if asked else None)
    return Findings(
        network=trained.config.model_name,
        classes=trained.classes,
        subject=trained.subject(example),
        shares=shares,
        activations=activations,
        kernels=kernels,
        pools={name: Pool(*map(settle, pool)) for name, pool in backend.max_pools(*given).items()},
        layer=layer,
        by_input=settle(backend.gradient(*given, label)[0]),
        cam_layer=cam,
        by_activation=settle(backend.gradient(*given, label, cam)[0]) if cam else None,
    )


def _layer(name: str, kernels: Mapping[str, Kernel]) -> str:
    """Return the layer that a name stands for, in PyTorch's way of writing it or in Flax's."""
    if (found := common_name(name)) in kernels:
        return found
    if not kernels:
        raise UserError(f"--layer {name}: the network has no layer with filters; leave it out")
    raise UserError(f"--layer {name}: no layer with filters.{nearest(found, kernels)}; there are {', '.join(kernels)}")


def _first(kernels: Mapping[str, Kernel]) -> str | None:
    """Return the first convolution, else the first linear layer."""
    convolutions = [name for name, kernel in kernels.items() if kernel.kind == "convolution"]
    return next(iter([*convolutions, *kernels]), None)


def _cam_layer(activations: Mapping[str, Activation], layer: str | None) -> str | None:
    """Return the layer that Grad-CAM looks at: the given one, else the last one that has several positions."""
    spatial = [
        name for name, (_, values) in activations.items() if values.ndim > 2 and np.prod(values.shape[1:-1]) > 1
    ]
    return layer if layer in spatial else (spatial[-1] if spatial else None)
