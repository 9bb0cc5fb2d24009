"""Solutions of lesson 7."""

import itertools

import numpy as np
import torch
from exercises import Exercise


def he_kernel(rng, k, inputs, outputs):
    """Return a kernel in Flax's layout, drawn as `he_normal` draws: the deviation depends on the outputs."""
    return rng.normal(scale=(2 / (k * k * outputs)) ** 0.5, size=(k, k, inputs, outputs))


def of_the_inputs(rng, k, inputs, outputs):
    """Count the numbers that come in instead of those that go out: a mistake, and He's other rule."""
    return rng.normal(scale=(2 / (k * k * inputs)) ** 0.5, size=(k, k, inputs, outputs))


def as_a_variance(rng, k, inputs, outputs):
    """Take the variance for the deviation: a mistake."""
    return rng.normal(scale=2 / (k * k * outputs), size=(k, k, inputs, outputs))


def check_he_kernel(answer):
    """Check the shape and the deviation of two large kernels."""
    for k, inputs, outputs in ((3, 64, 128), (5, 40, 30)):
        found = np.asarray(answer(np.random.default_rng(0), k, inputs, outputs))
        what = f"{k}x{k}, {inputs} to {outputs} channels"
        assert found.shape == (k, k, inputs, outputs), f"{what}: expected Flax's layout, found {found.shape}"
        expected = (2 / (k * k * outputs)) ** 0.5
        assert abs(found.std() / expected - 1) < 0.05, (
            f"{what}: the deviation is {expected:.4f}, not {found.std():.4f}"
        )
        assert abs(found.mean()) < 0.05 * expected, f"{what}: the mean should be 0, found {found.mean():.4f}"


def classifier_parameters(channels, size, hidden, classes):
    """Return the number of weights and biases of three linear layers."""
    widths = (channels * size**2, hidden, hidden, classes)
    return sum((n_in + 1) * n_out for n_in, n_out in itertools.pairwise(widths))


def without_biases(channels, size, hidden, classes):
    """Count the weights alone: a mistake."""
    return channels * size**2 * hidden + hidden**2 + hidden * classes


def check_classifier_parameters(answer):
    """Check a small classifier and VGG's."""
    assert answer(2, 1, 3, 4) == 9 + 12 + 16, "2-3-3-4 has 2x3 + 3, 3x3 + 3 and 3x4 + 4 numbers, 37 in all"
    assert answer(512, 7, 4096, 1000) == 123_642_856, "VGG-16's linear layers have 123,642,856 numbers"


def shares(length, size):
    """Return the matrix (size, length) of adaptive average pooling."""
    matrix = np.zeros((size, length))
    for i in range(size):
        start, end = i * length // size, -(-(i + 1) * length // size)  # rounded down, rounded up
        matrix[i, start:end] = 1 / (end - start)
    return matrix


def equal_windows(length, size):
    """Give all outputs windows of one length, and forget the rest: a mistake."""
    matrix, window = np.zeros((size, length)), max(1, length // size)
    for i in range(size):
        matrix[i, i * window : (i + 1) * window] = 1 / window
    return matrix


def check_shares(answer):
    """Compare with PyTorch, where the size divides the length and where it does not."""
    for length, size in ((8, 4), (5, 3), (2, 7), (13, 6)):
        x = np.random.default_rng(length).normal(size=length)
        expected = torch.nn.functional.adaptive_avg_pool1d(torch.from_numpy(x)[None], size)[0].numpy()
        found = np.asarray(answer(length, size))
        assert found.shape == (size, length), f"the matrix should be {(size, length)}, found {found.shape}"
        assert np.allclose(found @ x, expected), f"{length} positions to {size}: other numbers than PyTorch's"


EXERCISES = [
    Exercise(he_kernel, check_he_kernel, of_the_inputs, as_a_variance),
    Exercise(classifier_parameters, check_classifier_parameters, without_biases),
    Exercise(shares, check_shares, equal_windows),
]
