"""Early stopping (--patience): the best epoch so far, its weights, and when the training is over."""

from collections.abc import Callable, Mapping
from typing import NamedTuple, Self

import numpy as np

from experiment.config import Config
from experiment.loop.metrics import Score


class BestEpoch(NamedTuple):
    """The best epoch so far, by validation accuracy; ties are broken by the loss, then by the earlier epoch."""

    epoch: int = 0
    step: int = 0  # the steps of the training that were done at its end
    rank: tuple[float, float] = (-np.inf, -np.inf)
    weights: Mapping[str, np.ndarray] = {}  # kept for early stopping only

    def after(
        self, epoch: int, step: int, validation: Score, export: Callable[[], Mapping[str, np.ndarray]] | None
    ) -> Self:
        """Return the better of this epoch and one more."""
        rank = (validation.accuracy, -validation.loss)
        if not rank > self.rank:  # nor if the loss is NaN
            return self
        weights = {name: np.array(w) for name, w in export().items()} if export else {}
        return self._replace(epoch=epoch, step=step, rank=rank, weights=weights)


def is_over(config: Config, epochs: int, best: BestEpoch) -> bool:
    """Return whether a training of which so many epochs are done is complete, or has stopped improving."""
    return epochs >= config.epochs or (config.patience > 0 and epochs - best.epoch >= config.patience)
