"""Learning-rate schedules as tables: one factor per step, the same numbers for both frameworks.

Trap 16 (per step or per epoch, off by one at warm-up) cannot arise between two readers of one table.
"""

import numpy as np


def factors(name: str, steps: int) -> np.ndarray:
    """Return what the learning rate is multiplied by at each step, (steps,) float64.

    They are those of PyTorch's schedulers for every number of steps. constant: 1. linear: down to 0. step: a tenth
    after each third (StepLR). cosine: down to 0 (Loshchilov and Hutter 2017, arXiv 1608.03983). warmup-cosine: linear
    over the first tenth, then cosine; without a warm-up only cosine, where PyTorch's chain of the two exceeds 1.
    onecycle: up to 1 over the first 30%, then down, both as cosines (Smith and Topin 2018, arXiv 1708.07120).
    """
    return TABLES[name](np.arange(steps, dtype=np.float64), steps)


def _constant(i: np.ndarray, steps: int) -> np.ndarray:  # noqa: ARG001 (the signature of every schedule)
    return np.ones_like(i)


def _linear(i: np.ndarray, steps: int) -> np.ndarray:
    return 1 - i / steps


def _step(i: np.ndarray, steps: int) -> np.ndarray:
    return 0.1 ** (i // -(-steps // 3))


def _cosine(i: np.ndarray, steps: int) -> np.ndarray:
    return 0.5 * (1 + np.cos(np.pi * i / steps))


def _warmup_cosine(i: np.ndarray, steps: int) -> np.ndarray:
    warmup = steps // 10
    # The first step is not wasted at a rate of 0; the step `warmup` is the first at the full rate.
    return np.where(i < warmup, (i + 1) / (warmup + 1), _cosine(np.maximum(i - warmup, 0), steps - warmup))


def _onecycle(i: np.ndarray, steps: int) -> np.ndarray:
    def anneal(start: float, end: float, share: np.ndarray) -> np.ndarray:
        return end + (start - end) / 2 * (1 + np.cos(np.pi * share))

    start, end = 1 / 25, 1 / 25 / 1e4
    # PyTorch's phases end on the last step of each, hence the -1; optax's are one step longer. With three steps or
    # fewer the way up ends before the first step, which is then on the way down.
    peak, last = 0.3 * steps - 1, steps - 1
    down = (i - peak) / (last - peak)
    return np.where(i <= peak, anneal(start, 1, i / peak), anneal(1, end, down))


TABLES = {
    "constant": _constant,
    "linear": _linear,
    "step": _step,
    "cosine": _cosine,
    "warmup-cosine": _warmup_cosine,
    "onecycle": _onecycle,
}
