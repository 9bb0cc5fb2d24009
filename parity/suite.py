"""Every check on every network that the registries hold; a network without a twin is a failure."""

from collections.abc import Collection, Sequence

import numpy as np

import torchnets
from jaxnets.environment import start_device
from parity.checks.layers import zero_gradient_names
from parity.checks.network import check_network
from parity.checks.pair import make_pair
from parity.checks.small import LARGE, build_small, names, real_batches
from parity.checks.verdicts import guarded
from parity.report import Report, Result
from parity.sides.flax_side import FlaxSide
from parity.sides.torch_side import randomised
from parity.training.trajectory import OPTIMIZERS, check_trajectory

__all__ = ["FEW_OPTIMIZERS", "build_small", "check_model", "check_network", "check_training", "names", "real_batches"]

QUICK_STEPS, FULL_STEPS = 10, 100
FEW_OPTIMIZERS = ("momentum", "adam")


def check_model(name: str, *, full: bool = False, seed: int = 0) -> Report:
    """Run every check on a registered network.

    Args:
        name: as in `jaxnets.MODELS`.
        full: check the whole depth of large networks; train for 100 steps instead of 10, and small networks with every
            optimizer instead of two.
        seed: of weights, data order, masks and cotangents.

    Raises:
        UserError: no such network.
    """
    start_device()
    report = check_network(name, full=full, seed=seed)
    if not report.ok:  # networks that differ cannot train the same way; where they differ has just been said
        return report
    steps = FULL_STEPS if full else QUICK_STEPS
    trained = [
        guarded(
            lambda o=optimizer: check_training(name, o, steps=steps, zeros=report.zeros, full=full, seed=seed),
            f"trajectory {optimizer}",
            "optimizer",
        )
        for optimizer in optimizers(name, full=full)
    ]
    return report._replace(results=(*report.results, *trained))


def optimizers(name: str, *, full: bool) -> Sequence[str]:
    """Return the optimizers that a network is trained with."""
    return OPTIMIZERS if full and torchnets.MODELS[name].num_params < LARGE else FEW_OPTIMIZERS


def check_training(
    name: str,
    optimizer: str,
    *,
    steps: int = QUICK_STEPS,
    zeros: Collection[str] | None = None,
    full: bool = False,
    seed: int = 0,
) -> Result:
    """Train both sides of a registered network with one optimizer, on real data, and compare where they end.

    `zeros` are the tensors whose true gradient is zero, if that is known already.
    """
    torch_module, flax_module, input_shape = build_small(name, seed, full=full)
    # A bias that starts at zero and has no gradient moves to either side by rounding, and L1 then drives it on.
    batches = real_batches(input_shape, steps, seed)
    torch_module = randomised(torch_module, batches[0].inputs, seed)
    if zeros is None:
        pair = make_pair(torch_module, FlaxSide(flax_module, np.float64), batches[0].inputs, seed)
        zeros = zero_gradient_names(pair)
    return check_trajectory(torch_module, flax_module, batches, optimizer, zeros=zeros, seed=seed)
