"""The result of `fit`, or of `load`: a trained network, its history, and what it says of new examples."""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data import DataError, Dataset, Loader, Split, apply_frontend, fit_to
from data.arrays import as_inputs, as_split
from experiment.config import Config
from experiment.loop.metrics import Score, probabilities, score
from experiment.loop.task import input_dtype
from experiment.runs import folder as run_folder

History = dict[str, list[Any]]
AT_ONCE = (1000, 2**24)  # at most so many examples, and so many numbers, in a batch for predictions


class Framework(NamedTuple):
    """What the functions for Python programs need of a framework."""

    name: str
    backend: Any
    settings: Callable[[Config], AbstractContextManager[None]]  # in which to compute; restored at the end
    check: Callable[[Any], None]  # raises if something is not a module of the framework's
    wrap: Callable[[Any], Any]  # a module of any origin, called as those of this package are
    unwrap: Callable[[Any, Any], Any]  # the module for the user, of a network and its trained variables
    weights: Callable[[Any], Any]  # the variables that a module holds, or None
    apply: Callable[[Any, Any, Any], Any]  # of a network, variables and inputs: the logits
    rebuilds: bool  # whether making a module draws from a generator that its training goes on with


class Trained(NamedTuple):
    """What a result is made of, in either framework."""

    framework: Framework
    config: Config
    model: Any  # as the backend takes it
    input_shape: tuple[int, ...]
    inputs: Mapping[str, Any]  # `describe_inputs`
    dtype: str  # of the examples that it was trained on; "" if unknown
    rows: list[dict[str, Any]]  # of metrics.jsonl
    summary: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, repr=False)
class Result:
    """A trained network.

    Attributes:
        module: the network: a Flax module without its weights, or a PyTorch module with them.
        variables: the weights and statistics: Flax's {"params": ..., "batch_stats": ...}, or a state_dict.
        state: the complete state at the end of the training, a NamedTuple; None of a result that was loaded.
        scores: loss, accuracy and confusion matrix of the parts "train", "validation" and "test".
        folder: the run folder; None if nothing was saved.
    """

    module: Any
    variables: Any
    state: Any
    scores: Mapping[str, Score]
    folder: Path | None
    trained: Trained

    @property
    def config(self) -> Config:
        """The options of the training."""
        return self.trained.config

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return tuple(self.trained.inputs["classes"])

    @property
    def history(self) -> History:
        """The metrics of each epoch by name: "epoch", "train_loss", "validation_accuracy" and so on."""
        found: History = {"epoch": []}
        for row in self.trained.rows:
            if row["epoch"] not in found["epoch"]:
                found["epoch"].append(row["epoch"])
            for name, value in row.items():
                if name not in ("epoch", "split"):
                    found.setdefault(f"{row['split']}_{name}", []).append(value)
        return found

    @property
    def summary(self) -> Mapping[str, Any]:
        """What `summary.json` of a run holds: the figures, the device, the versions, the inputs."""
        return self.trained.summary

    def __repr__(self) -> str:
        trained, test = self.trained, self.summary.get("test", {}).get("accuracy")
        what = f"{trained.config.model_name} on {trained.config.dataset_name}, {trained.framework.name}"
        where = f", {self.folder}" if self.folder else ""
        return f"<Result: {what}, {len(self.history['epoch'])} epochs, test accuracy {test:.2%}{where}>"

    def apply(self, variables: Any, inputs: Any) -> Any:
        """Return the logits of inputs as the network takes them: a pure function, in evaluation mode.

        They are normalised as by `inputs`; channels last in Flax, first in PyTorch.
        """
        return self.trained.framework.apply(self.trained.model, variables, inputs)

    def inputs(self, examples: Any) -> np.ndarray:
        """Return examples, as those of the training were given, as the network takes them: (N, ..., C) normalised."""
        return np.concatenate([batch.inputs for batch in self._loader(examples).epoch()])

    def logits(self, examples: Any) -> np.ndarray:
        """Return the logits (N, classes) of examples, as those of the training were given."""
        trained, loader = self.trained, self._loader(examples)
        with trained.framework.settings(trained.config):
            return np.asarray(trained.framework.backend.predict(trained.model, self.variables, loader, trained.config))

    def predict(self, examples: Any, *, names: bool = False) -> np.ndarray:
        """Return the class number of each example (N,); with `names` the names of the classes."""
        numbers = self.logits(examples).argmax(axis=1)
        return np.array(self.classes)[numbers] if names else numbers

    def predict_proba(self, examples: Any) -> np.ndarray:
        """Return the probability of each class, (N, classes)."""
        return probabilities(self.logits(examples), self.config.loss)

    def evaluate(self, examples: Any, labels: Any = None) -> Score:
        """Return loss, accuracy and confusion matrix of examples with labels, or of a dataset's test set.

        Raises:
            DataError: the arrays do not fit the network, or the labels not its classes.
        """
        if isinstance(examples, Dataset):
            examples, labels = examples.test
        if labels is None:
            raise DataError("evaluate: expected inputs and their labels, found no labels")
        found = as_split("evaluate", examples, labels, self.classes)
        return score(self.logits(found.inputs), found.labels, self.config.loss, roc_auc=self.config.probabilities)

    def save(self, folder: Path | str) -> Path:
        """Write a run folder, for the commands `evaluate`, `predict` and `compare`, and for `load`.

        Raises:
            UserError: it exists already, or cannot be written.
        """
        path, trained = Path(folder), self.trained
        run_folder.make_folder(dataclasses.replace(trained.config, out=path), trained.framework.name)
        run_folder.write_weights(path, trained.framework.backend.export(self.variables))
        run_folder.write_rows(path, trained.rows)
        run_folder.write_summary(path, json.loads(json.dumps(dict(trained.summary))))
        return path

    def _loader(self, examples: Any) -> Loader:
        trained, about = self.trained, self.trained.inputs
        shape = tuple(about["shape"])
        if np.shape(examples) == shape:
            raise DataError(f"inputs: expected (N, {', '.join(map(str, shape))}), found one example; give x[None]")
        found = as_inputs("inputs", examples)
        if found.shape[1:] != shape or (trained.dtype and found.dtype.name != trained.dtype):
            expected = f"(N, {', '.join(map(str, shape))}) {trained.dtype}".rstrip()
            raise DataError(f"inputs: expected {expected} as in training, found {found.shape} {found.dtype}")
        if not len(found):
            raise DataError(f"inputs: expected at least one example, found {found.shape}")
        split, unused = Split(found, np.zeros(len(found), np.int32)), np.ones(found.shape[-1], np.float32)
        dataset = Dataset(split, split, self.classes, unused, unused, rate=about["rate"])
        dataset, _ = apply_frontend(dataset, trained.config.frontend)
        dataset, _ = fit_to(dataset, trained.input_shape)
        mean, std = (np.array(about[name], np.float32) for name in ("mean", "std"))
        size = max(1, min(AT_ONCE[0], AT_ONCE[1] // math.prod(dataset.test.inputs.shape[1:])))
        return Loader(dataset.test, mean, std, size, dtype=input_dtype(trained.config))
