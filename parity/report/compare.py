"""Comparing tensors by name: numpy alone, strict both ways, and nothing that is not finite ever passes."""

from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np

# In float64, a gradient this small against the whole one is zero but for rounding, like that of a bias before
# BatchNorm (trap 28). Bugs are O(1e-3) and above, roundings O(1e-16) times the depth.
ROUNDING = 1e-13
# Is a reference so sensitive that it proves nothing? It is moved by one rounding a few times, and if it then parts
# from itself by this share of a bound, it is.
NUDGES, CHAOTIC = 3, 0.1


class Values(NamedTuple):
    """Both sides' numbers where two tensors are furthest apart."""

    at: tuple[int, ...]
    torch: float
    jax: float

    def __str__(self) -> str:
        return f"at {list(self.at)} PyTorch has {self.torch:.9g}, Flax {self.jax:.9g}"


class Difference(NamedTuple):
    """How far one tensor is from its reference."""

    name: str
    error: float  # L2 norm of the difference over that of the reference; infinite if it cannot be compared
    bound: float
    detail: str  # where they differ most and both values there, or why they cannot be compared
    relative_to: str = ""  # what the error is relative to, if not to the tensor itself
    values: Values | None = None  # where they differ most; None if they cannot be compared

    @property
    def ok(self) -> bool:
        """Whether the error is within the bound; never for NaN."""
        return self.error <= self.bound

    @property
    def severity(self) -> float:
        """Return the error in units of the bound, to find the worst of several."""
        return self.error / self.bound if np.isfinite(self.error) else np.inf


def relative_error(reference: np.ndarray, found: np.ndarray, scale: float | None = None) -> float:
    """Return |found - reference| / |reference| in L2 norm, or over `scale`; infinite unless all is finite.

    Two zeros agree; anything else against a zero does not.
    """
    if reference.shape != found.shape or not (np.isfinite(reference).all() and np.isfinite(found).all()):
        return np.inf
    # float64 holds whatever float32 or an integer counter holds, so the comparison adds no rounding of its own.
    reference, found = (array.astype(np.float64, copy=False) for array in (reference, found))
    distance, size = norm(found - reference), norm(reference) if scale is None else scale
    if distance == 0:
        return 0.0
    return distance / size if size > 0 else np.inf


def norm(array: np.ndarray) -> float:
    """Return the L2 norm; its squares neither underflow to an agreement that is none, nor overflow."""
    largest = _largest(array)
    if not 0 < largest < np.inf:  # zero, or NaN and infinity, which stay what they are
        return largest
    return largest * float(np.linalg.norm(array / largest))


def _largest(array: np.ndarray) -> float:
    """Return the largest absolute value, without an array of all of them; NaN if there is one."""
    if array.dtype.kind not in "fiu" or not array.size:
        return float(np.abs(array).max(initial=0))
    return max(abs(float(array.max())), abs(float(array.min())))


def difference(
    name: str, reference: np.ndarray, found: np.ndarray, bound: float, scale: float | None = None
) -> Difference:
    """Compare two tensors; the error is relative to the reference's norm, or to `scale`."""
    error, detail = relative_error(reference, found, scale), describe(reference, found)
    return Difference(name, error, bound, detail, values=furthest(reference, found))


def compare(
    reference: Mapping[str, np.ndarray],
    found: Mapping[str, np.ndarray],
    bound: float,
    *,
    zeros: Collection[str] = (),
) -> list[Difference]:
    """Compare two sets of tensors by name, in the order of the reference.

    Args:
        reference: PyTorch's tensors.
        found: Flax's.
        bound: what each error may be.
        zeros: tensors that are zero but for rounding: they are judged against the norm of the whole reference, their
            own being noise (trap 28).

    Returns:
        One difference per name of either side; a missing tensor has an infinite error.
    """
    whole = total_norm(reference)
    differences = []
    for name in [*reference, *(name for name in found if name not in reference)]:
        if name not in found or name not in reference:
            side = "Flax" if name not in found else "PyTorch"
            differences.append(Difference(name, np.inf, bound, f"missing in {side}"))
        elif name in zeros:
            row = difference(name, reference[name], found[name], bound, whole)
            differences.append(row._replace(relative_to="the whole, its own being zero"))
        else:
            differences.append(difference(name, reference[name], found[name], bound))
    return differences


def total_norm(tensors: Mapping[str, np.ndarray]) -> float:
    """Return the L2 norm of all tensors together."""
    return norm(np.array([norm(tensor.astype(np.float64)) for tensor in tensors.values()]))


def whole_error(reference: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> float:
    """Return the L2 norm of the difference of all tensors together over that of the reference."""
    gaps = {name: found[name].astype(np.float64) - reference[name] for name in reference}
    error = total_norm(gaps) / total_norm(reference)
    return error if np.isfinite(error) else np.inf


def zero_gradients(reference: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> frozenset[str]:
    """Return the names of float64 gradients that are zero but for rounding, on both sides."""
    limits = [(grads, ROUNDING * total_norm(grads)) for grads in (reference, found)]
    return frozenset(
        name for name in reference.keys() & found.keys() if all(norm(grads[name]) <= limit for grads, limit in limits)
    )


def describe(reference: np.ndarray, found: np.ndarray) -> str:
    """Say where two tensors differ most, and both values there."""
    if reference.shape != found.shape:
        return f"PyTorch has shape {reference.shape}, Flax {found.shape}"
    return str(furthest(reference, found) or "empty")


def furthest(reference: np.ndarray, found: np.ndarray) -> Values | None:
    """Return where two tensors differ most, and both values there; None if they cannot be compared."""
    if reference.shape != found.shape or reference.size == 0:
        return None
    gap = np.abs(found.astype(np.float64) - reference.astype(np.float64))
    gap = np.where(np.isfinite(gap), gap, np.inf)
    at = tuple(int(i) for i in np.unravel_index(gap.argmax(), gap.shape))
    return Values(at, *(float(np.real(side[at])) for side in (reference, found)))


def short(name: str) -> str:
    """Return a path without its collection: "fc1/kernel" for "params/fc1/kernel"."""
    return name.removeprefix("params/").removeprefix("batch_stats/")


def worst(differences: Collection[Difference]) -> Difference:
    """Return the difference that is largest in units of its bound."""
    return max(differences, key=lambda d: d.severity)
