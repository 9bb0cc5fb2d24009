"""What two different gradients of one operation look like: a factor, ties, numbers that are not finite."""

from typing import Any

import numpy as np

from parity.align.backward import Parting
from parity.align.matched import Group
from parity.align.tape import Entry

NEAR = 1e-6


def words_of(parting: Parting, entry: Entry | None, group: Group | None) -> str:
    """Return what a difference looks like, "" if it looks like nothing in particular."""
    ours, theirs = parting.ours, parting.theirs
    for name, array, other in (("PyTorch", ours, theirs), ("JAX", theirs, ours)):
        wild = ~np.isfinite(array)
        if wild.any() and np.isfinite(other[wild]).all():
            return f": {name}'s is not finite in {wild.sum()} of {wild.size} numbers{_where(wild, entry, group)}"
        if not np.any(array) and np.any(other):
            return f": {name}'s is zero"
    differs = np.abs(ours - theirs) > NEAR * np.abs(ours).max()
    if factor := _factor(ours, theirs):
        return f": JAX's is {factor:.6g} times PyTorch's"
    if differs.sum() < differs.size:
        return f": they differ in {differs.sum()} of {differs.size} numbers{_where(differs, entry, group)}"
    return ""


def _factor(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Return the number that one array is times the other, 0 if there is none."""
    size = float((ours * ours).sum())
    factor = float((ours * theirs).sum()) / size if size else 0.0
    near = np.linalg.norm(theirs - factor * ours) <= NEAR * np.linalg.norm(theirs)
    return factor if near and factor else 0.0


def _where(differs: np.ndarray, entry: Entry | None, group: Group | None) -> str:
    """Return what is special about the operand there: a tie, a bound, zero."""
    if entry is None or group is None:
        return ""
    value = group.reference
    if not np.any(value[differs]):
        return ", all where the operand is 0"
    for other in entry.operands:
        if not isinstance(other.array, np.ndarray) or other.array.dtype.kind != "f":
            continue
        if other.array.size == 1 and (value[differs] == _number(other.array)).all():
            return f", all where the operand is {_number(other.array):g}: a tie"
        another = other.array.shape == value.shape and not any(other is n for n in group.nodes)
        if another and (value == other.array)[differs].all():
            return ", all where both operands are equal: a tie"
    if entry.name in ("reduce_max", "reduce_min", "argmax", "sort", "max", "min", "clamp", "cummax"):
        return ", where several operands are equal: ties"
    return ""


def _number(array: Any) -> float:
    return float(np.asarray(array).ravel()[0])
