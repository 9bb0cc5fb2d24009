"""Batches for the trainings of this folder."""

import itertools

import numpy as np


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
