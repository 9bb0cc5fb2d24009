"""Batches for the trainings of this folder."""

import itertools

import numpy as np


def floats(array):
    """Return an array in float32."""
    return array.astype(np.float32)


def vectors(seed: int = 0):
    """Yield twelve numbers for each example, and one of five classes."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None):
        yield rng.normal(size=(8, 12)).astype(np.float32), rng.integers(0, 5, 8)


def images(seed: int = 0):
    """Yield pictures, channels last, and one of five classes."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None):
        yield rng.normal(size=(6, 8, 8, 3)).astype(np.float32), rng.integers(0, 5, 6)


def labels(seed: int = 0):
    """Yield twelve numbers for each example, and which of six labels it has."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None):
        yield rng.normal(size=(8, 12)).astype(np.float32), rng.integers(0, 2, (8, 6)).astype(np.float32)


def tokens(seed: int = 0):
    """Yield rows of tokens, and of the tokens that follow."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None):
        text = rng.integers(0, 11, (4, 7))
        yield text[:, :-1], text[:, 1:]


def diffusion(seed: int = 0):
    """Yield pictures, the step of each, and noise."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None):
        yield floats(rng.normal(size=(4, 8, 8, 2))), rng.integers(0, 20, 4), floats(rng.normal(size=(4, 8, 8, 2)))


def views(seed: int = 0):
    """Yield two views of each example."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None):
        yield floats(rng.normal(size=(6, 12))), floats(rng.normal(size=(6, 12)))


def transitions(seed: int = 0):
    """Yield observations, actions, rewards, next observations, and whether they are the last."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None):
        yield (
            floats(rng.normal(size=(8, 4))),
            rng.integers(0, 3, 8),
            floats(3 * rng.normal(size=8)),
            floats(rng.normal(size=(8, 4))),
            floats(rng.integers(0, 2, 8)),
        )


def rollouts(seed: int = 0):
    """Yield observations, actions, their log-probabilities, advantages, returns and values."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None):
        yield (
            floats(rng.normal(size=(16, 4))),
            rng.integers(0, 3, 16),
            floats(-1 + 0.5 * rng.normal(size=16)),
            floats(rng.normal(size=16)),
            floats(rng.normal(size=16)),
            floats(0.5 * rng.normal(size=16)),
        )


def continuous(seed: int = 0):
    """Yield observations, actions, rewards, next observations, whether they are the last, and noise."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None):
        yield (
            floats(rng.normal(size=(8, 5))),
            floats(np.tanh(rng.normal(size=(8, 2)))),
            floats(rng.normal(size=8)),
            floats(rng.normal(size=(8, 5))),
            floats(rng.integers(0, 2, 8)),
            floats(0.2 * rng.normal(size=(8, 2))),
        )


def pixels(seed: int = 0):
    """Yield sixteen numbers from 0 to 1 for each example."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None):
        yield (floats(rng.uniform(size=(6, 16))),)


def speech(seed: int = 0):
    """Yield frames, labels and how many labels there are."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None):
        yield floats(rng.normal(size=(4, 12, 5))), rng.integers(1, 7, (4, 4)), rng.integers(2, 5, 4)


def triplets(seed: int = 0):
    """Yield an anchor, one like it and another one."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None):
        yield tuple(floats(rng.normal(size=(6, 12))) for _ in range(3))


def critic(seed: int = 0):
    """Yield examples, noise and shares to mix them."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None):
        yield floats(rng.normal(size=(8, 6))), floats(rng.normal(size=(8, 4))), floats(rng.uniform(size=(8, 1)))


def graph(seed: int = 0):
    """Yield nodes, an adjacency matrix, classes and which nodes are trained on."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None):
        a = rng.integers(0, 2, (10, 10))
        a = np.maximum(a, a.T)
        np.fill_diagonal(a, 1)
        d = 1 / np.sqrt(a.sum(1))
        yield (
            floats(rng.normal(size=(10, 6))),
            floats(a * d[:, None] * d),
            rng.integers(0, 4, 10),
            rng.integers(0, 2, 10).astype(bool),
        )


def padded(seed: int = 0):
    """Yield rows of tokens, with zeros behind their end, and of the tokens that follow."""
    rng = np.random.default_rng(seed)
    for _ in itertools.repeat(None):
        text = rng.integers(1, 11, (4, 7))
        n = rng.integers(3, 8, 4)
        text = np.where(np.arange(7) < n[:, None], text, 0)
        yield text[:, :-1], text[:, 1:]
