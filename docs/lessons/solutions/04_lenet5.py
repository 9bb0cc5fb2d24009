"""Solutions of lesson 4."""

import jax.numpy as jnp
import numpy as np
import torch
from exercises import Exercise


def parameters(layers):
    """Return the number of weights and biases of all layers."""
    total = 0
    for kind, *sizes in layers:
        if kind == "conv":
            k, c_in, c_out = sizes
            total += (k * k * c_in + 1) * c_out
        else:
            n_in, n_out = sizes
            total += (n_in + 1) * n_out
    return total


def parameters_with_one_bias(layers):
    """Count one bias for each layer instead of each output: a mistake."""
    return sum(int(np.prod(sizes)) * (sizes[0] if kind == "conv" else 1) + 1 for kind, *sizes in layers)


def check_parameters(answer):
    """Check LeNet-5 and the MLP of its size."""
    lenet5 = [("conv", 5, 1, 6), ("conv", 5, 6, 16), ("conv", 5, 16, 120), ("linear", 120, 84), ("linear", 84, 10)]
    found = answer(lenet5)
    assert found == 61_706, f"LeNet-5 has 61,706 parameters, found {found:,}"
    found = answer([("linear", 1024, 48), *[("linear", 48, 48)] * 5, ("linear", 48, 10)])
    assert found == 61_450, f"the MLP has 61,450 parameters, found {found:,}"


def size(n, kernel, stride, padding):
    """Return the number of positions of a kernel."""
    return (n + 2 * padding - kernel) // stride + 1


def size_with_padding_once(n, kernel, stride, padding):
    """Add the padding at one side only: a mistake."""
    return (n + padding - kernel) // stride + 1


def check_size(answer):
    """Check against PyTorch's convolution."""
    for n, kernel, stride, padding in ((32, 5, 1, 0), (28, 2, 2, 0), (224, 7, 2, 3), (9, 4, 3, 1)):
        expected = torch.nn.Conv1d(1, 1, kernel, stride, padding)(torch.zeros(1, 1, n)).shape[-1]
        found = answer(n, kernel, stride, padding)
        what = f"n={n}, kernel={kernel}, stride={stride}, padding={padding}"
        assert found == expected, f"{what}: a convolution takes {expected} positions, found {found}"


def flatten(x):
    """Return (N, C * H * W) of (N, H, W, C)."""
    return jnp.moveaxis(x, -1, 1).reshape(len(x), -1)


def flatten_in_memory_order(x):
    """Flatten (H, W, C) as it lies in memory: a mistake."""
    return x.reshape(len(x), -1)


def check_flatten(answer):
    """Check against torch.flatten of the same numbers, channels first."""
    x = np.arange(2 * 2 * 3 * 4).reshape(2, 2, 3, 4)
    found = np.asarray(answer(jnp.asarray(x)))
    expected = torch.flatten(torch.tensor(x).movedim(-1, 1), 1).numpy()
    assert found.shape == expected.shape, f"expected shape {expected.shape}, found {found.shape}"
    assert (found == expected).all(), f"PyTorch's order of the first example is {expected[0]}, found {found[0]}"


EXERCISES = [
    Exercise(parameters, check_parameters, parameters_with_one_bias),
    Exercise(size, check_size, size_with_padding_once),
    Exercise(flatten, check_flatten, flatten_in_memory_order),
]
