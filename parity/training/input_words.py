"""Words for a network that is given something else: another mean, deviation, scale or order of channels."""

from collections.abc import Iterator

import numpy as np

from parity.report.compare import relative_error
from parity.training.stages import Compared
from parity.training.steps import TorchStep

PRODUCTS = ("dot_general", "conv_general_dilated")
SAME = 1e-9


def input_words(one: Compared, step: TorchStep) -> str:
    """Say how the input of JAX's first product differs from that of PyTorch's module, "" if it is the same."""
    if not step.inputs:
        return ""
    reference = step.inputs[0]
    for node in one.first.nodes:
        if node.name not in PRODUCTS or node.back:
            continue
        for parent in node.parents:
            array = np.asarray(parent.array, np.float64)
            if array.size == reference.size and array.shape[:1] == reference.shape[:1] != ():
                return _words(reference, array)
        return ""
    return ""


def _words(reference: np.ndarray, array: np.ndarray) -> str:
    tried = list(_layouts(reference, array.shape))
    if any(relative_error(candidate, array) <= SAME for candidate in tried):
        return ""
    for candidate in tried:
        if relative_error(candidate[..., ::-1], array) <= SAME:
            return "the channels of the input are in reverse order, blue first in one of both"
        if words := _affine(candidate, array):
            return words
    for candidate in tried:
        if words := _affine(candidate[..., ::-1], array):
            return f"the channels of the input are in reverse order; {words}"
    return ""


def _layouts(reference: np.ndarray, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    if reference.shape == shape:
        yield reference
    if reference.ndim > 2:
        moved = np.moveaxis(reference, 1, -1)
        if moved.shape == shape:
            yield moved
    if reference.ndim != len(shape) and reference.size == np.prod(shape):
        yield reference.reshape(shape)


def _affine(reference: np.ndarray, array: np.ndarray) -> str:
    """Fit array = a reference + b, for all numbers and then for each channel."""
    if (whole := _fitted(reference, array)) is not None:
        a, b = whole
        words = f"the input is PyTorch's times {a:.6g}" if abs(a - 1) > SAME else "the input is PyTorch's"
        more = f" plus {b:.6g}" if abs(b) > SAME else ""
        return f"{words}{more}: another mean, deviation or scale"
    if array.ndim < 3:
        return ""
    pairs = [_fitted(reference[..., c], array[..., c]) for c in range(array.shape[-1])]
    if any(pair is None for pair in pairs):
        return ""
    scales = {f"{a:.6g}" for a, _ in (p for p in pairs if p is not None)}
    what = "mean" if scales == {"1"} else "mean or deviation"
    return f"the input has another {what} for each channel"


def _fitted(reference: np.ndarray, array: np.ndarray) -> tuple[float, float] | None:
    x, y = reference.ravel(), array.ravel()
    if x.size < 3 or np.ptp(x) == 0:
        return None
    a, b = np.polyfit(x, y, 1)
    return (float(a), float(b)) if relative_error(y, a * x + b) <= SAME else None
