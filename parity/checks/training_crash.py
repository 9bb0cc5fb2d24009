"""A JAX side that fails in training mode alone: it passes every check in evaluation mode, and cannot be trained."""

import traceback

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np

from parity.align.pair import PortPair
from parity.report import Failure, Result
from parity.sides.arrays import x64
from parity.sides.faults import explained
from parity.trace.lines import Line, belongs_to_user

CHECK = "training mode"


def jax_crash(pair: PortPair) -> Result | None:
    """Call the JAX side in training mode as it is; return a failure if it raises, where PyTorch's computes.

    Errors of Flax itself are left out: a generator or a collection of the module's own that it was not given.
    """
    leaves = {path: np.asarray(array) for path, array in pair.leaves.items()}
    given = jax.tree.map(np.asarray, (pair.jax_inputs.args, dict(pair.jax_inputs.kwargs)))
    try:
        with x64():
            pair.jax.call(*jax.tree.map(jnp.asarray, (leaves, *given)), train=True)
    except (flax.errors.FlaxError, jax.errors.JAXTypeError):
        return None
    except Exception as error:
        words = f"JAX raises in training mode, PyTorch does not: {explained(error)}"
        failure = Failure(CHECK, "forward", "output", np.inf, 0, words, None, None, _line(error))
        return Result(CHECK, np.inf, 0, "output", "", failure)
    return None


def _line(error: BaseException) -> Line | None:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if belongs_to_user(frame.filename)]
    return Line(frames[-1].filename, frames[-1].lineno or 0, frames[-1].name) if frames else None
