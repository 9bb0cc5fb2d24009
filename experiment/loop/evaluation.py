"""Evaluating within the memory that training takes, and without losing the weights if that fails."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from data.errors import UserError
from experiment.config import Config
from experiment.runs.folder import WEIGHTS, write_weights

MOST = 1000  # examples at once
LARGE = 2**12  # values: an example of 64x64 is the largest that is small
ROOM = 2**22  # values of large examples at once, 16 MiB as float32: 27 pictures of 224x224x3
SHARE = 16  # small examples for each one of a training step, which keeps the activations of all layers
VIEWS = {"none": 1, "flip": 2, "shift": 6}
NO_MEMORY = re.compile(r"out of memory|RESOURCE_EXHAUSTED|can't allocate|not enough memory|bad_alloc", re.IGNORECASE)


def evaluation_batch(config: Config, shape: tuple[int, ...], replicas: int = 1) -> int:
    """Return how many examples of a shape are evaluated at once.

    Evaluation keeps no activations for a backward pass. So it fits into the memory of a training step with as many
    large examples as a device takes in that step, or several times as many small ones; there is a bound for both.
    """
    step = math.ceil(config.batch_size / config.accumulate / replicas)
    values = math.prod(shape)
    count = SHARE * step if values <= LARGE else min(step, ROOM // values)
    return min(MOST, max(1, count // VIEWS[config.tta]))


@contextmanager
def keeping(folder: Path, weights: Callable[[], Mapping[str, np.ndarray]] | None) -> Iterator[None]:
    """Write the `weights` into a run folder if evaluating them fails; None: they are there already.

    Raises:
        UserError: the memory does not suffice; says where the weights are.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        if weights:
            write_weights(folder, weights())
        where = f"the weights are in {folder / WEIGHTS}"
        if not isinstance(error, MemoryError) and not NO_MEMORY.search(str(error)):
            error.add_note(where)
            raise
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise UserError(f"evaluation takes more memory than there is ({first[:200]}); {where}") from None
