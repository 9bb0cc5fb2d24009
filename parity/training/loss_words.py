"""Words for a loss or gradients that are not PyTorch's."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from parity.report.compare import norm, relative_error, total_norm
from parity.training.roles import Roles
from parity.training.stages import Compared
from parity.training.steps import TorchStep
from parity.training.weights import carried

SAME = 1e-9


def loss_words(number: int, compared: list[Compared], steps: list[TorchStep], batches: Sequence[Any]) -> str:
    """Say how a loss differs, "" if nothing reproduces it."""
    chosen = range(number, len(steps))
    pairs = [(_reference(steps[n]), float(np.asarray(compared[n].first.loss.array))) for n in chosen]
    factors = [b / a for a, b in pairs if a]
    if factors and all(abs(f - factors[0]) <= SAME * abs(f) for f in factors):
        return factor_words(factors[0], "the loss", steps[number], batches[number])
    return _parts_words(chosen, pairs, steps, batches) or _l2_words(chosen, pairs, steps)


def _reference(step: TorchStep) -> float:
    return step.loss if step.loss is not None else float(np.sum(step.roots))


def factor_words(factor: float, what: str, step: TorchStep, batch: Any) -> str:
    """Say what a factor stands for: the batch, the classes, the pieces."""
    first = next((a for a in _arrays(batch) if a.ndim), None)
    sizes = {} if first is None else {"examples": len(first)}
    if step.outputs and step.outputs[0].ndim:  # a module may return its loss
        sizes["outputs of an example"] = step.outputs[0].shape[-1]
        sizes["outputs"] = step.outputs[0].size
    if len(step.roots) > 1:
        sizes["pieces of the batch"] = len(step.roots)
    for name, size in sizes.items():
        if abs(factor - size) <= 1e-6 * size and size > 1:
            return f"{what} is PyTorch's times {factor:.6g}: a sum over the {size} {name} for a mean (trap 18)"
        if abs(factor * size - 1) <= 1e-6 and size > 1:
            return f"{what} is PyTorch's times {factor:.6g}: a mean over the {size} {name} for a sum (trap 18)"
    return f"{what} is PyTorch's times {factor:.6g}"


def _arrays(batch: Any) -> Iterator[np.ndarray]:
    for value in batch.values() if isinstance(batch, dict) else batch:
        if isinstance(value, np.ndarray):
            yield value
        elif isinstance(value, dict | list | tuple):
            yield from _arrays(value)


def _l2_words(chosen: Sequence[int], pairs: list[tuple[float, float]], steps: list[TorchStep]) -> str:
    """Compare the difference with the squares of parameters."""
    squares = {
        "all parameters": lambda _: True,
        "weights": lambda a: a.ndim > 1,
        "biases and scales": lambda a: a.ndim <= 1,
    }
    for which, kept in squares.items():
        sums = [sum(float((p**2).sum()) for p in steps[n].before.params.values() if kept(p)) for n in chosen]
        shares = [(b - a) / s for (a, b), s in zip(pairs, sums, strict=True) if s]
        if len(shares) < 2 or not shares[0] or any(abs(s - shares[0]) > 1e-6 * abs(shares[0]) for s in shares):
            continue
        share, sign = shares[0], "more" if shares[0] > 0 else "less"
        if which == "biases and scales":
            return "the L2 term is over all parameters, in PyTorch over weights alone"
        return f"the loss has {abs(share):.6g} times the squares of {which} {sign}: an L2 term"
    return ""


def _parts_words(
    chosen: Sequence[int], pairs: list[tuple[float, float]], steps: list[TorchStep], batches: Sequence[Any]
) -> str:
    """Take both losses apart into cross-entropies and squares of parameters, and compare the shares."""
    rows = [_parts(steps[n], batches[n]) for n in chosen]
    if any(row is None for row in rows) or len({tuple(row) for row in rows if row}) != 1:
        return ""
    names = list(rows[0] or {})
    table = np.array([[row[name] for name in names] for row in rows if row])
    if len(table) <= len(names):
        return ""
    mine, theirs = (_shares(table, np.array([pair[side] for pair in pairs])) for side in (0, 1))
    if mine is None or theirs is None:
        return ""
    ours, others = (dict(zip(names, shares, strict=True)) for shares in (mine, theirs))
    words = _smoothing(ours, others, steps[chosen[0]]) if "labels" in ours else _weights_of(ours, others)
    return "; ".join(word for word in (*words, *_penalty(ours, others)) if word)


def _parts(step: TorchStep, batch: Any) -> dict[str, float] | None:
    """Return what the loss of a classifier may be a sum of; None if it is none."""
    if len(step.outputs) != 1 or step.outputs[0].ndim < 2:
        return None
    logits, found = step.outputs[0].reshape(-1, step.outputs[0].shape[-1]), dict[str, float]()
    for array in (a for a in _arrays(batch) if a.ndim and a.size):
        array = array.reshape(-1) if array.dtype.kind in "iu" else array.reshape(-1, array.shape[-1])
        if (
            array.dtype.kind in "iu"
            and array.shape == logits.shape[:1]
            and 0 <= array.min() <= array.max() < logits.shape[1]
        ):
            table = np.logaddexp.reduce(logits, axis=-1, keepdims=True) - logits
            found = {"labels": table[np.arange(len(array)), array].mean(), "all": table.mean()}
        elif array.shape == logits.shape and set(np.unique(array)) <= {0, 1}:
            y = np.asarray(array, np.float64)
            found = {
                "positive": (y * np.logaddexp(0, -logits)).mean(),
                "negative": ((1 - y) * np.logaddexp(0, logits)).mean(),
            }
    if not found:
        return None
    params = step.before.params.values()
    found["weights"] = sum(float((p**2).sum()) for p in params if p.ndim > 1)
    found["others"] = sum(float((p**2).sum()) for p in params if p.ndim <= 1)
    return {name: value for name, value in found.items() if value}


def _shares(table: np.ndarray, losses: np.ndarray) -> np.ndarray | None:
    """Return how much of each part losses are made of, None if they are not."""
    sizes = np.linalg.norm(table, axis=0)
    shares = np.linalg.lstsq(table / sizes, losses, rcond=None)[0] / sizes
    if np.abs(table @ shares - losses).max() > 1e-9 * np.abs(losses).max():
        return None
    return np.where(np.abs(shares * sizes) > 1e-8 * np.linalg.norm(losses), shares, 0.0)


def _smoothing(ours: dict[str, float], others: dict[str, float], step: TorchStep) -> list[str]:
    classes = step.outputs[0].shape[-1]
    whole = [side["labels"] + side["all"] for side in (ours, others)]
    mine, theirs = (side["all"] / total if total else 0.0 for side, total in zip((ours, others), whole, strict=True))
    words = (
        [] if abs(whole[0] - whole[1]) <= 1e-6 else [f"the cross-entropy is PyTorch's times {whole[1] / whole[0]:.6g}"]
    )
    if abs(mine - theirs) <= 1e-6:
        return words
    if mine and abs(theirs - mine * classes / (classes - 1)) <= 1e-6:
        return [
            *words,
            f"labels are smoothed over the K - 1 other classes, in PyTorch by {mine:.6g} over all K (trap 18)",
        ]
    if theirs and abs(mine - theirs * classes / (classes - 1)) <= 1e-6:
        return [
            *words,
            f"labels are smoothed by {theirs:.6g} over all K classes, in PyTorch over the K - 1 others (trap 18)",
        ]
    return [*words, f"labels are smoothed by {theirs:.6g} where PyTorch's by {mine:.6g} (trap 18)"]


def _weights_of(ours: dict[str, float], others: dict[str, float]) -> list[str]:
    words = []
    for name in ("positive", "negative"):
        a, b = ours.get(name, 0.0), others.get(name, 0.0)
        if abs(a - b) > 1e-6 * max(abs(a), abs(b)):
            words.append(f"{name} labels weigh {b:.6g} where PyTorch's weigh {a:.6g}")
    return words


def _penalty(ours: dict[str, float], others: dict[str, float]) -> list[str]:
    words = []
    for name, what in (("weights", "weights"), ("others", "biases and scales")):
        a, b = ours.get(name, 0.0), others.get(name, 0.0)
        if abs(a - b) <= 1e-6 * max(abs(a), abs(b)):
            continue
        if a and abs(b - 2 * a) <= 1e-6 * abs(b):
            words.append(f"the L2 term of {what} is without the half, {b:.6g} where PyTorch's is {a:.6g}")
        elif b and abs(a - 2 * b) <= 1e-6 * abs(a):
            words.append(f"the L2 term of {what} has one half more, {b:.6g} where PyTorch's is {a:.6g}")
        elif not a and name == "others" and abs(b - ours.get("weights", 0.0)) <= 1e-6 * abs(b):
            words.append("the L2 term is over all parameters, in PyTorch over weights alone")
        elif not b and name == "others" and abs(a - others.get("weights", 0.0)) <= 1e-6 * abs(a):
            words.append("the L2 term is over weights alone, in PyTorch over all parameters")
        else:
            words.append(f"the L2 term of {what} is {b:.6g} of their squares where PyTorch's is {a:.6g}")
    return words


def gradient_words(
    number: int, compared: list[Compared], steps: list[TorchStep], batches: Sequence[Any], roles: Roles
) -> str:
    """Say how gradients differ, "" if nothing reproduces it."""
    one, step = compared[number], steps[number]
    bad = [row for row in one.found if row.stage == "gradients" and not row.ok]
    if one.factor != 1.0:
        return factor_words(one.factor, "every gradient", step, batches[number])
    zero = [row.tensor for row in bad if not np.any(row.jax)]
    if zero and len(zero) == len(bad):
        return f"the gradient of {', '.join(zero[:3])} is zero: is it stopped?"
    rows = {row.tensor: np.asarray(row.jax, np.float64) for row in one.found if row.stage == "gradients"}
    return _piece_words(rows, step, roles) or _ratio_words(bad)


def _piece_words(rows: dict[str, np.ndarray], step: TorchStep, roles: Roles) -> str:
    """Compare with the gradients of the pieces of a batch."""
    if len(step.pieces) < 2 or not rows:
        return ""
    carried_pieces = [
        {leaf: carried(roles.params[leaf], piece, constant=False) for leaf in rows} for piece in step.pieces
    ]
    parts = [p for p in carried_pieces if all(array is not None for array in p.values())]
    for name, part in (("last", parts[-1]), ("first", parts[0])) if parts else ():
        if all(_multiple(part[leaf], array) for leaf, array in rows.items()):
            return f"it is the gradient of the {name} piece of the batch alone: the others are not added up"
    return _clipped_pieces(parts, rows, step)


def _clipped_pieces(parts: list[dict[str, Any]], rows: dict[str, np.ndarray], step: TorchStep) -> str:
    """Clip each piece, by the norm to which PyTorch clips the sum, before they are added up."""
    count = len(parts)
    pairs = [(total_norm(step.raw), total_norm(step.gradients))]
    limit = pairs[0][1] / pairs[0][0] * (pairs[0][0] + 1e-6) if pairs[0][0] else 0.0
    for scale, eps in ((s, e) for s in (float(count), 1.0) for e in (1e-6, 0.0)):
        total: dict[str, Any] = {}
        for part in parts:
            size = total_norm(part) * scale
            share = min(1.0, limit / (size + eps)) * scale
            total = {leaf: total.get(leaf, 0) + share * part[leaf] for leaf in rows}
        for divided in (float(count), 1.0):
            if all(relative_error(total[leaf] / divided, array) <= 1e-8 for leaf, array in rows.items()):
                return "each piece of the batch is clipped before they are added up, in PyTorch their sum"
    return ""


def _multiple(reference: Any, found: np.ndarray) -> bool:
    size = float(np.vdot(reference, reference))
    ratio = float(np.vdot(reference, found)) / size if size else 0.0
    return bool(ratio) and relative_error(reference * ratio, found) <= SAME


def _ratio_words(bad: Sequence[Any]) -> str:
    if len(bad) == 1 and norm(bad[0].torch) and _multiple(bad[0].torch, np.asarray(bad[0].jax, np.float64)):
        ratio = float(np.vdot(bad[0].torch, bad[0].jax) / np.vdot(bad[0].torch, bad[0].torch))
        return f"the gradient of {bad[0].tensor} alone is PyTorch's times {ratio:.6g}"
    return ""
