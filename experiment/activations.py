"""What happens inside a network for some inputs: the types that both frameworks return, and their common names."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

DIGITS = 6  # of the values that are drawn or compared; see `settle`
ADD = "add"


class Activation(NamedTuple):
    """The output of a layer or of a function that a network calls."""

    kind: str  # "convolution", "linear", "normalization", or the function: "relu", "max_pool", "add" and so on
    values: np.ndarray  # (N, ..., C)


class Kernel(NamedTuple):
    """The weights of a convolution or of a linear layer."""

    kind: str  # "convolution" or "linear"
    values: np.ndarray  # (size, ..., inputs, outputs); (inputs, outputs) of a linear layer
    input_shape: tuple[int, ...]  # of the layer, for one example: (..., C)


class Pool(NamedTuple):
    """What a max-pooling is given, what it keeps of it, and what it puts out."""

    inputs: np.ndarray  # (N, ..., C)
    kept: np.ndarray  # of the same shape: how many windows have their maximum at this position
    outputs: np.ndarray  # (N, ..., C)


def settle(values: Any, xp: Any = np) -> Any:
    """Round values to six digits of the largest magnitude; `xp` is the library of the array.

    The frameworks add the same numbers in other orders, so the last of float64's sixteen digits differ. What is a tie
    in exact arithmetic, such as max-pooling's in an even background, and a value between two colors would then be
    decided by noise. After rounding both decide alike, but for a value that is within noise of a rounding boundary:
    less than one in 1e8.
    """
    largest = xp.max(xp.abs(values), initial=0)
    step = 10.0 ** (xp.floor(xp.log10(xp.where(largest > 0, largest, 1.0))) + 1 - DIGITS)
    return xp.round(values / step) * step + 0.0  # adding 0 makes -0 to 0


def common_name(path: str) -> str:
    """Return the name of a layer in both frameworks: PyTorch's "layer1.0.conv1" is "layer1_0.conv1", as in Flax."""
    return re.sub(r"\.(\d+)", r"_\1", path.replace("/", "."))


def without_partial_sums(calls: Sequence[tuple[str, str]]) -> list[int]:
    """Return the indices of calls (scope, kind) without those of a sum that the next call adds to."""
    after = [*calls[1:], ("", "")]
    return [at for at, (call, then) in enumerate(zip(calls, after, strict=True)) if call != then or call[1] != ADD]


def names(calls: Sequence[tuple[str, str]], layers: Sequence[bool]) -> list[str]:
    """Return the names of calls (scope, kind), in order: a layer has its own, a function is counted in its scope.

    So the ReLUs of a network are "relu_1", "relu_2"; the only one of its layer `unit1` is "unit1.relu". A layer that
    is called again has the number of the call behind it: "conv1#2".
    """
    whole = [
        scope if layer else f"{scope}.{kind}".lstrip(".") for (scope, kind), layer in zip(calls, layers, strict=True)
    ]
    totals, seen, found = Counter(whole), Counter(), []
    for name, layer in zip(whole, layers, strict=True):
        seen[name] += 1
        if layer:
            found.append(name if seen[name] == 1 else f"{name}#{seen[name]}")
        else:
            found.append(name if totals[name] == 1 else f"{name}_{seen[name]}")
    return found
