"""The best epoch by --monitor, and early stopping (--patience). One rule for both, that of Keras's EarlyStopping."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Self

import numpy as np

from experiment.config import Config
from experiment.loop.metrics import Score


class BestEpoch(NamedTuple):
    """The best epoch so far, by the validation examples."""

    epoch: int = 0  # 0: none yet
    step: int = 0  # the steps of the training that were done at its end
    value: float | None = None  # of the monitored metric
    weights: Mapping[str, np.ndarray] = {}  # kept for early stopping only

    def after(
        self,
        config: Config,
        epoch: int,
        step: int,
        validation: Score,
        export: Callable[[], Mapping[str, np.ndarray]] | None,
    ) -> Self:
        """Return the better of this epoch and one more."""
        value = monitored(config, validation.as_dict())
        if not is_better(config, value, self.value):
            return self
        weights = {name: np.array(w) for name, w in export().items()} if export else {}
        return self._replace(epoch=epoch, step=step, value=value, weights=weights)


def monitored(config: Config, metrics: Mapping[str, Any]) -> float | None:
    """Return the metric that --monitor names, of those in a file; None if the outputs were not finite."""
    return None if metrics["loss"] is None else metrics[metric_name(config)]


def metric_name(config: Config) -> str:
    """Return the name of the monitored metric in files."""
    return config.monitor.replace("-", "_")


def rank(config: Config, value: float | None) -> float:
    """Return what is larger the better the monitored metric is; none is the worst."""
    if value is None:
        return -np.inf
    return -value if config.monitor == "loss" else value


def is_better(config: Config, value: float | None, best: float | None) -> bool:
    """Return whether a value improves on the best so far by more than --min-delta; an equal one does not."""
    return rank(config, value) - config.min_delta > rank(config, best)


def from_manifest(best: Mapping[str, Any], weights: Mapping[str, np.ndarray]) -> BestEpoch:
    """Return the best epoch of a checkpoint; earlier versions saved the accuracy and the loss of it, as its rank."""
    accuracy, _ = best.get("rank") or (None, None)
    return BestEpoch(best["epoch"], best["step"], best.get("value", accuracy), weights)


def is_over(config: Config, epochs: int, best: BestEpoch) -> bool:
    """Return whether a training of which so many epochs are done is complete, or has stopped improving."""
    return epochs >= config.epochs or (config.patience > 0 and epochs - best.epoch >= config.patience)
