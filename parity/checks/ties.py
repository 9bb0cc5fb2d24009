"""Inputs that leave a gradient undecided: a background of equal pixels, and max-pool takes one of two equals.

Which of them depends on the last bit of each. PyTorch's products need not round alike at all positions: measured in
float64 on a CPU, of 3,334 outputs of windows that were equal, 2,383 were not, and none in the next call, which found
the memory aligned in another way. Then PyTorch is as far from itself as from its twin, and nothing can be shown there.
"""

import numpy as np

from parity.checks.pair import Gradients, Pair
from parity.report.compare import whole_error
from parity.sides.torch_side import TorchSide, one_rounding_away

NUDGES = 12  # of the weights: a single tie falls to the other side in one of two
JUMP = 1e-8  # of a gradient: far more than one rounding enlarges it to, and far less than bugs come to
MOVED = 1e-3  # standard deviations of an input: ties are then gone, and all else is where it was


def undecided(pair: Pair, known: Gradients, seed: int, *, train: bool) -> float:
    """Return how far PyTorch's own gradient is from the one `known`, moved by one rounding; 0 if that is no jump."""
    module, masks = pair.torch.module, pair.masks if train else None
    apart = 0.0
    for other in (module, *(one_rounding_away(module, seed + i) for i in range(NUDGES))):
        run = TorchSide(other, pair.torch.dtype).run(pair.inputs, pair.cotangent, train=train, masks=masks)
        apart = max(apart, whole_error(known, run[1]))
    return apart if apart > JUMP else 0.0


def settled(pair: Pair, seed: int) -> Pair:
    """Return the pair with inputs that hold no two equal numbers."""
    noise = np.random.default_rng([seed, 4]).normal(size=pair.inputs.shape)
    return pair._replace(inputs=pair.inputs + (MOVED * pair.inputs.std() * noise).astype(pair.inputs.dtype))
