"""Solutions of lesson 7."""

import itertools

import numpy as np
import torch
from exercises import Exercise


def receptive_field(layers):
    """Return how many pixels in a row an output depends on; layers are (kernel, stride)."""
    field, step = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * step
        step *= stride
    return field


def without_strides(layers):
    """Add the kernels alone: a mistake, as soon as there is a stride."""
    return 1 + sum(kernel - 1 for kernel, _ in layers)


def check_receptive_field(answer):
    """Check rows of convolutions with and without strides."""
    assert answer([(3, 1)] * 3) == 7, "three 3x3 convolutions see 7 pixels"
    assert answer([(11, 4), (3, 2)]) == 19, "AlexNet's first pool sees 19 pixels: its steps are 4 pixels long"
    vgg16 = [layer for depth in (2, 2, 3, 3, 3) for layer in [(3, 1)] * depth + [(2, 2)]]
    assert answer(vgg16) == 212, f"VGG-16 sees 212 pixels before its linear layers, found {answer(vgg16)}"


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
    Exercise(receptive_field, check_receptive_field, without_strides),
    Exercise(classifier_parameters, check_classifier_parameters, without_biases),
    Exercise(shares, check_shares, equal_windows),
]
