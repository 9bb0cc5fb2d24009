"""Solutions of lesson 5."""

import numpy as np
import torch
from exercises import Exercise


def convolve_same(x, kernel):
    """Return (H, W, outputs), with zeros around x (H, W, inputs)."""
    k = len(kernel)
    padded = np.pad(x, ((k // 2, k // 2), (k // 2, k // 2), (0, 0)))
    out = np.zeros((*x.shape[:2], kernel.shape[3]))
    for row in range(x.shape[0]):
        for column in range(x.shape[1]):
            out[row, column] = np.tensordot(padded[row : row + k, column : column + k], kernel, axes=3)
    return out


def convolve_turned(x, kernel):
    """Turn the kernel by 180 degrees, as mathematics does and the frameworks do not: a mistake."""
    return convolve_same(x, kernel[::-1, ::-1])


def check_convolve_same(answer):
    """Check against PyTorch."""
    rng = np.random.default_rng(0)
    for k in (1, 3, 5):
        x, kernel = rng.normal(size=(6, 7, 2)), rng.normal(size=(k, k, 2, 3))
        inputs, weight = torch.from_numpy(x).permute(2, 0, 1)[None], torch.from_numpy(kernel).permute(3, 2, 0, 1)
        expected = torch.nn.functional.conv2d(inputs, weight, padding=k // 2)[0].permute(1, 2, 0).numpy()
        found = np.asarray(answer(x, kernel))
        assert found.shape == expected.shape, f"{k}x{k}: expected shape {expected.shape}, found {found.shape}"
        difference = abs(found - expected).max()
        assert difference < 1e-10, f"{k}x{k}: PyTorch's result differs by up to {difference:.2f}"


def max_pool(x, size, padding):
    """Return the largest value of each window; the padding is minus infinity."""
    padded = np.pad(x, ((padding, padding), (padding, padding), (0, 0)), constant_values=-np.inf)
    height, width = (length // size for length in padded.shape[:2])
    windows = padded[: height * size, : width * size].reshape(height, size, width, size, -1)
    return windows.max(axis=(1, 3))


def max_pool_with_zeros(x, size, padding):
    """Pad with zeros, which win against negative values: a mistake."""
    return max_pool(np.pad(x, ((padding, padding), (padding, padding), (0, 0))), size, 0)


def check_max_pool(answer):
    """Check against PyTorch, on negative numbers."""
    x = -np.random.default_rng(0).uniform(1, 2, size=(6, 7, 2))
    for size, padding in ((2, 0), (3, 1), (2, 1)):
        inputs = torch.from_numpy(x).permute(2, 0, 1)[None]
        expected = torch.nn.functional.max_pool2d(inputs, size, padding=padding)[0].permute(1, 2, 0).numpy()
        found = np.asarray(answer(x, size, padding))
        assert found.shape == expected.shape, f"expected shape {expected.shape}, found {found.shape}"
        assert (found == expected).all(), (
            f"size {size}, padding {padding}: all inputs are negative, and so are the maxima"
        )


def receptive_field(layers):
    """Return how many pixels along an axis an output depends on."""
    field, step = 1, 1
    for kernel, stride in layers:
        field += (kernel - 1) * step  # neighbors of this layer are `step` pixels apart
        step *= stride
    return field


def receptive_field_without_strides(layers):
    """Add up the kernels as if all neighbors were one pixel apart: a mistake."""
    return 1 + sum(kernel - 1 for kernel, _ in layers)


def check_receptive_field(answer):
    """Check small cases, LeNet-5, whose last convolution sees the whole image, AlexNet's first pool and VGG-16."""
    vgg16 = [layer for depth in (2, 2, 3, 3, 3) for layer in [(3, 1)] * depth + [(2, 2)]]
    for layers, expected in (
        ([(3, 1)], 3),
        ([(3, 1), (3, 1)], 5),
        ([(5, 1), (2, 2), (5, 1), (2, 2), (5, 1)], 32),
        ([(11, 4), (3, 2)], 19),
        (vgg16, 212),
    ):
        found = answer(layers)
        assert found == expected, f"{layers} sees {expected} pixels, found {found}"


EXERCISES = [
    Exercise(convolve_same, check_convolve_same, convolve_turned),
    Exercise(max_pool, check_max_pool, max_pool_with_zeros),
    Exercise(receptive_field, check_receptive_field, receptive_field_without_strides),
]
