"""Solutions of lesson 8."""

import numpy as np
import torch
from exercises import Exercise

from torchnets.models.inception import InceptionBlock


def block_parameters(n, channels):
    """Return the number of parameters of a block: of its convolutions and of its norms."""
    c1, c3_in, c3, c5_in, c5, c_pool = channels
    return n * c1 + n * c3_in + 9 * c3_in * c3 + n * c5_in + 25 * c5_in * c5 + n * c_pool + 2 * sum(channels)


def without_reduction(n, channels):
    """Let the 3x3 and the 5x5 see all inputs: a mistake, and what Inception avoids."""
    c1, _, c3, _, c5, c_pool = channels
    return n * (c1 + 9 * c3 + 25 * c5 + c_pool) + 2 * (c1 + c3 + c5 + c_pool)


def norms_of_the_output(n, channels):
    """Forget the norms of the reductions, whose channels are not among the block's output: a mistake."""
    return block_parameters(n, channels) - 2 * (channels[1] + channels[3])


def check_block_parameters(answer):
    """Count the parameters of blocks in PyTorch."""
    for n, channels in ((64, (32, 32, 64, 8, 16, 16)), (5, (1, 2, 3, 4, 5, 6))):
        block = InceptionBlock(n, channels, 2)
        expected = sum(p.numel() for p in block.parameters())
        found = answer(n, channels)
        assert found == expected, f"{n} inputs and {channels}: expected {expected:,} parameters, found {found:,}"


def one_by_one(weight, bias, x):
    """Return the 1x1 convolution of channels-last images."""
    return x @ weight[:, :, 0, 0].T + bias


def not_transposed(weight, bias, x):
    """Forget that PyTorch's weight is (outputs, inputs): a mistake that a square one does not tell."""
    matrix = weight[:, :, 0, 0]
    return x @ (matrix if matrix.shape[0] == matrix.shape[1] else matrix.T) + bias


def check_one_by_one(answer):
    """Compare with PyTorch, for square weights, too."""
    for inputs, outputs in ((3, 5), (4, 4)):
        layer = torch.nn.Conv2d(inputs, outputs, 1)
        x = np.random.default_rng(0).normal(size=(2, 3, 3, inputs)).astype(np.float32)
        expected = layer(torch.from_numpy(x).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).detach().numpy()
        weight, bias = (p.detach().numpy() for p in layer.parameters())
        found = np.asarray(answer(weight, bias, x))
        assert found.shape == expected.shape, f"expected shape {expected.shape}, found {found.shape}"
        assert np.allclose(found, expected, atol=1e-5), f"{inputs} to {outputs} channels: other numbers than PyTorch's"


def max_pool_3(x):
    """Return the maximum over each position and its two neighbors."""
    padded = np.pad(x, ((0, 0), (1, 1)), constant_values=-np.inf)
    return np.maximum(np.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])


def padded_with_zeros(x):
    """Pad with zeros, which win against negative numbers: a mistake."""
    padded = np.pad(x, ((0, 0), (1, 1)))
    return np.maximum(np.maximum(padded[:, :-2], padded[:, 1:-1]), padded[:, 2:])


def check_max_pool_3(answer):
    """Compare with PyTorch, at positive and at negative numbers."""
    x = np.random.default_rng(0).normal(size=(2, 7))
    for shift in (3.0, -3.0):
        expected = torch.nn.functional.max_pool1d(torch.from_numpy(x + shift)[:, None], 3, 1, 1)[:, 0].numpy()
        found = np.asarray(answer(x + shift))
        assert found.shape == x.shape, f"the pool keeps the size, {x.shape}; found {found.shape}"
        assert np.allclose(found, expected), f"numbers about {shift:g}: the ends should be {expected[0, [0, -1]]}"


EXERCISES = [
    Exercise(block_parameters, check_block_parameters, without_reduction, norms_of_the_output),
    Exercise(one_by_one, check_one_by_one, not_transposed),
    Exercise(max_pool_3, check_max_pool_3, padded_with_zeros),
]
