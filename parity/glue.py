"""What lies between two layers: the few steps without weights that turn one's output into the other's input.

They leave no trace in either framework, so they are found again by search: all short sequences of activation, pooling
and flattening are tried, by PyTorch's own functions, until one gives the very numbers. What PyTorch does and what Flax
does then stand side by side.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import combinations, islice
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from parity.imitate import same
from parity.torch_side import channels_first, channels_last

ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "": lambda x: x,
    "ReLU": functional.relu,
    "exact GELU": functional.gelu,
    "tanh GELU": lambda x: functional.gelu(x, approximate="tanh"),
    "SiLU": functional.silu,
    "leaky ReLU 0.01": functional.leaky_relu,
    "leaky ReLU 0.1": lambda x: functional.leaky_relu(x, 0.1),
    "leaky ReLU 0.2": lambda x: functional.leaky_relu(x, 0.2),
    "ELU": functional.elu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "ReLU6": functional.relu6,
    "softplus": functional.softplus,
    "hard swish": functional.hardswish,
    "Mish": functional.mish,
    "log softmax": lambda x: functional.log_softmax(x, 1),
    "softmax": lambda x: functional.softmax(x, 1),
}
WINDOWS = (
    (2, 2, 0),
    (3, 2, 0),
    (3, 2, 1),
    (2, 1, 0),
    (3, 1, 1),
    (3, 3, 0),
    (4, 4, 0),
    (2, 2, 1),
)  # size, stride, padding
FLATTENS = ("", "flatten (C, ...)", "flatten (..., C)", "flatten (..., C) with height and width swapped")
LATEST = 8  # so many layers back the search looks


class Steps(NamedTuple):
    """How a tensor was made."""

    source: str
    activation: str = ""
    pool: str = ""
    flat: str = ""
    pool_first: bool = False

    def __str__(self) -> str:
        first, second = (self.pool, self.activation) if self.pool_first else (self.activation, self.pool)
        return ", ".join([self.source, *(step for step in (first, second, self.flat) if step)])


def explain(sources: Mapping[str, np.ndarray], target: np.ndarray) -> Steps | None:
    """Return the shortest way to `target` from what went before, or None if the search finds none.

    Args:
        sources: tensors by name, channels last, in the order in which they were made.
        target: what is to be explained, channels last.
    """
    recent = dict(list(sources.items())[-LATEST:])
    ways = [*reversed(recent.items())]
    found = next((s for name, x in ways for s in _from(name, x, target)), None)
    if found is None:
        sums = (
            (f"{a} + {b}", recent[a] + recent[b])
            for a, b in combinations(recent, 2)
            if recent[a].shape == recent[b].shape
        )
        found = next((s for name, x in sums for s in _from(name, x, target)), None)
    return found or _joined(recent, target)


def compare_steps(reference: Steps | None, found: Steps | None) -> str:
    """Say how two ways differ, with the trap that makes them differ if it is a known one."""
    if reference is None or found is None or reference == found:
        return ""
    trap = _trap(reference, found)
    return f"PyTorch: {reference}; Flax: {found}{f' (trap {trap})' if trap else ''}"


def _trap(a: Steps, b: Steps) -> str:
    if a.source != b.source:
        return "10"
    if a.flat != b.flat:
        return "8"
    if a.activation != b.activation:
        return "12" if {a.activation, b.activation} == {"exact GELU", "tanh GELU"} else "10"
    if a.pool != b.pool:
        return "7" if "average" in a.pool and "average" in b.pool else "6"
    return "10"


def _from(name: str, source: np.ndarray, target: np.ndarray) -> Iterator[Steps]:
    """Yield the ways from one tensor to another, short ones first."""
    if len(source) != len(target) or not (np.isfinite(target).all() and np.isfinite(source).all()):
        return
    x = torch.from_numpy(np.array(channels_first(source), np.float64))
    for pool, pooled in _pools(x):
        for flat in FLATTENS:
            if _flat_shape(pooled, flat) != target.shape:
                continue
            for activation, function in ACTIVATIONS.items():
                if same(target, _flattened(_pool(pool, function(x)), flat)):
                    yield Steps(name, activation, pool, flat)
                elif pool and activation and same(target, _flattened(function(pooled), flat)):
                    yield Steps(name, activation, pool, flat, pool_first=True)


def _pools(x: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    for name in _POOLS:
        try:
            yield name, _pool(name, x)
        except (RuntimeError, ValueError, IndexError):  # a window that does not fit
            continue


def _pool(name: str, x: torch.Tensor) -> torch.Tensor:
    return _POOLS[name](x)


def _window_pools() -> dict[str, Callable[[torch.Tensor], torch.Tensor]]:
    pools: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"": lambda x: x}

    def at(kind: str, x: torch.Tensor, *args: int, **options: bool) -> torch.Tensor:
        if x.ndim < 3:
            raise ValueError("no positions")
        return getattr(functional, f"{kind}_pool{x.ndim - 2}d")(x, *args, **options)

    def padded(x: torch.Tensor, before: int, after: int, value: float = 0.0) -> torch.Tensor:
        return functional.pad(x, [before, after] * (x.ndim - 2), value=value)

    for size, stride, pad in WINDOWS:
        words = f"pool {size}, stride {stride}" + (f", padding {pad}" if pad else "")
        key = (size, stride, pad)
        pools[f"max-{words}"] = lambda x, k=key: at("max", x, *k)
        pools[f"average {words}"] = lambda x, k=key: at("avg", x, *k)
        pools[f"max-{words}, ceil mode"] = lambda x, k=key: at("max", x, *k, ceil_mode=True)
        if pad:
            pools[f"max-{words} with zeros"] = lambda x, k=key: at("max", padded(x, k[2], k[2]), *k[:2])
            pools[f"average {words} not counted"] = lambda x, k=key: at("avg", x, *k, count_include_pad=False)
        pools[f"max-pool {size}, stride {stride}, padding (0, 1)"] = lambda x, k=key: at(
            "max", padded(x, 0, 1, -torch.inf), *k[:2]
        )
        pools[f"average pool {size}, stride {stride}, padding (0, 1)"] = lambda x, k=key: at(
            "avg", padded(x, 0, 1), *k[:2]
        )
    pools["mean over all positions"] = lambda x: x.mean(tuple(range(2, x.ndim)))
    pools["maximum over all positions"] = lambda x: x.amax(tuple(range(2, x.ndim)))
    pools["sum over all positions"] = lambda x: x.sum(tuple(range(2, x.ndim)))
    return pools


_POOLS = _window_pools()


def _flat_shape(x: torch.Tensor, flat: str) -> tuple[int, ...]:
    return (len(x), x[0].numel()) if flat else tuple(x.movedim(1, -1).shape) if x.ndim > 2 else tuple(x.shape)


def _flattened(x: torch.Tensor, flat: str) -> np.ndarray:
    if flat == FLATTENS[1]:
        return x.flatten(1).numpy()
    last = channels_last(x.numpy())
    if flat == FLATTENS[3]:
        last = np.swapaxes(last, 1, -2)
    return last.reshape(len(last), -1) if flat else last


def _joined(sources: Mapping[str, np.ndarray], target: np.ndarray) -> Steps | None:
    """Explain a concatenation along the channels, its parts as they are or through a ReLU."""
    parts: list[str] = []
    start = 0
    while start < target.shape[-1]:
        part = next(islice(_parts(sources, target, start), 1), None)
        if part is None:
            return None
        parts.append(part[0])
        start += part[1]
    return Steps(f"[{', '.join(parts)}]") if len(parts) > 1 else None


def _parts(sources: Mapping[str, np.ndarray], target: np.ndarray, start: int) -> Iterator[tuple[str, int]]:
    for name, source in sources.items():
        width = source.shape[-1]
        if source.shape[:-1] == target.shape[:-1] and start + width <= target.shape[-1]:
            chunk = target[..., start : start + width]
            for words, values in ((name, source), (f"ReLU {name}", np.maximum(source, 0))):
                if same(values, chunk):
                    yield words, width


def order_of_calls(reference: Sequence[str], found: Sequence[str]) -> str:
    """Say where Flax calls its layers in another order."""
    common = [name for name in reference if name in set(found)]
    others = [name for name in found if name in set(reference)]
    for ours, theirs in zip(common, others, strict=False):
        if ours != theirs:
            return f"Flax calls {theirs.split('#')[0]} where PyTorch calls {ours.split('#')[0]}"
    return ""
