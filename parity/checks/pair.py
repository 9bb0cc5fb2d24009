"""Two networks with the same weights, and what happens in one pass of each."""

from typing import NamedTuple

import numpy as np
from torch import nn as torch_nn

from parity.checks.structure import without_counters
from parity.sides.calls import Masks, Run
from parity.sides.flax_side import FlaxSide
from parity.sides.torch_side import TorchSide

Gradients = dict[str, np.ndarray]  # by Flax's path, with the "input"'s


class Pair(NamedTuple):
    """Two networks with the same weights, and something to show them."""

    torch: TorchSide
    flax: FlaxSide
    variables: dict[str, np.ndarray]  # the weights of both, by Flax's path
    inputs: np.ndarray  # (N, ..., C)
    cotangent: np.ndarray  # what the output is weighted by before it is differentiated
    masks: Masks  # for the dropout layers, the same for both


class Both(NamedTuple):
    """One pass of each side, forward and back."""

    reference: Run
    gradients: Gradients  # of what PyTorch trains, and of the input
    found: Run
    found_gradients: Gradients


def make_pair(torch_module: torch_nn.Module, flax_side: FlaxSide, inputs: np.ndarray, seed: int) -> Pair:
    """Give both modules the same weights, in the precision of `flax_side`."""
    dtype = flax_side.dtype
    torch_side = TorchSide(torch_module, dtype)
    variables = without_counters(torch_side.variables(), flax_side.structure(inputs.shape[1:]))
    inputs = np.asarray(inputs, dtype)
    output = torch_side.forward(inputs).output
    cotangent = np.random.default_rng([seed, 1]).normal(size=output.shape).astype(dtype) / len(inputs)
    return Pair(torch_side, flax_side, variables, inputs, cotangent, draw_masks(torch_side, inputs, seed))


def draw_masks(torch_side: TorchSide, inputs: np.ndarray, seed: int) -> Masks:
    """Draw a mask for every call of a dropout layer, in the order in which PyTorch makes them."""
    rng = np.random.default_rng([seed, 2])
    return {name: rng.random(site.shape) >= site.rate for name, site in torch_side.sites(inputs).items()}


def run_both(pair: Pair, *, train: bool) -> Both:
    """Run both sides forward and back."""
    masks = pair.masks if train else None
    torch_side = TorchSide(pair.torch.module, pair.torch.dtype)  # a copy: its buffers move in training mode
    reference, gradients = torch_side.run(pair.inputs, pair.cotangent, train=train, masks=masks)
    found, others = pair.flax.run(pair.variables, pair.inputs, pair.cotangent, train=train, masks=masks)
    frozen = frozen_names(pair)
    return Both(reference, gradients, found, {name: grad for name, grad in others.items() if name not in frozen})


def frozen_names(pair: Pair) -> frozenset[str]:
    """Return the parameters that PyTorch does not train, by Flax's path."""
    frozen = [name for name, p in pair.torch.module.named_parameters() if not p.requires_grad]
    return frozenset(pair.torch.layouts[name].path for name in frozen)
