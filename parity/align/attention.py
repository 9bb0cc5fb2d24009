"""Hypotheses about attention: its mask, its rotary positions, its grouped heads."""

from collections.abc import Iterator

import torch

from parity.align.replay import Guess, Replay

FAR = -1e3  # what a mask adds is below
LOWEST = -1e30
BASES = (10, 50, 100, 500, 1000, 5000, 10000, 50000, 100000, 500000, 1000000)
WIDEST = 64  # windows that are tried
Setting = tuple[int, bool, int, int]  # a rotation: base, halves, direction, axis of the positions


def masks(replay: Replay, number: int) -> Iterator[Guess]:
    """Yield other masks before a softmax."""
    op = replay.op(number)
    if "softmax" not in op.name or not op.inputs:
        return
    given = op.inputs[0]
    scores, visible = unmasked(replay, given)
    if visible is None:
        visible = torch.ones(scores.shape[-2:], dtype=torch.bool)
    visible = visible.expand(torch.broadcast_shapes(visible.shape, scores.shape))
    if not visible.all():
        after = torch.where(visible, torch.softmax(scores, -1), 0)
        yield Guess("the mask is applied after the softmax instead of before it", {op.outputs[0]: after})
    for words, other in _other_masks(visible):
        if not torch.equal(other.expand_as(visible), visible):
            yield Guess(words, {given: torch.where(other, scores, LOWEST)})


def unmasked(replay: Replay, number: int) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Return scores before a mask was applied, and where it lets them through, if one was."""
    number = replay.source(number)
    maker = replay.trace.values[number].maker
    if maker is None:
        return replay.tensor(number), None
    op = replay.op(maker)
    name, args = op.name.rstrip("_"), replay.args(op)
    if name == "masked_fill":
        return args[0], ~args[1].bool()
    if name == "where" and len(args) == 3:
        far = torch.as_tensor(args[2])
        return (args[1], args[0].bool()) if bool((far < FAR).all()) else (torch.as_tensor(args[2]), ~args[0].bool())
    if name == "add" and len(op.inputs) == 2:
        for scores, mask in (args[:2], args[1::-1]):
            if bool((mask < FAR).any()) and bool(((mask < FAR) | (mask == 0)).all()):
                return scores, mask > FAR
    return replay.tensor(number), None


def _other_masks(visible: torch.Tensor) -> Iterator[tuple[str, torch.Tensor]]:
    rows, columns = visible.shape[-2:]
    distance = torch.arange(rows)[:, None] - torch.arange(columns)[None, :]
    causal = (distance >= 0) & torch.ones_like(visible)
    everything = torch.ones_like(visible)
    padding = visible.any(-2, keepdim=True) & everything
    if torch.equal(visible, causal & padding) or (torch.equal(visible, visible & causal)):
        yield "the mask is not applied: not causal", everything
        yield "JAX's attention is not causal, only the mask of padding is applied", padding
    yield "the mask is not applied", everything
    yield "the mask is inverted", ~visible
    yield "JAX's mask is causal, PyTorch's is not causal", visible & causal
    yield "the mask is causal alone: that of padding is not applied", causal
    yield "the mask is transposed", visible.mT if rows == columns else visible
    for first in (-1, 0, 1, 2):
        for last in (None, *range(1, min(rows, WIDEST))):
            window = (distance >= first) & (distance < (last or columns + rows))
            yield "the mask is off by one or has another window", window & padding
    for step in (1, -1):
        yield "the mask is off by one", torch.roll(visible, step, -1)
        yield "the mask is off by one", torch.roll(visible, step, -2)


def groups(replay: Replay, number: int) -> Iterator[Guess]:
    """Yield heads repeated one by one instead of all together, or the other way round."""
    op = replay.op(number)
    words = "grouped heads: JAX repeats each head (1 1 2 2), PyTorch all of them together (1 2 1 2)"
    if op.name == "repeat":
        x, counts = replay.args(op)[:2]
        axes = [axis for axis, count in enumerate(counts) if count > 1]
        if len(axes) == 1 and len(counts) == x.ndim:
            yield Guess(words, {op.outputs[0]: x.repeat_interleave(counts[axes[0]], axes[0])})
        return
    if op.name not in ("expand", "clone", "index_select", "repeat_interleave", "_unsafe_view", "view"):
        return
    x, out = replay.tensor(op.inputs[0]), replay.tensor(op.outputs[0])
    words = "grouped heads: JAX puts all of them together again (1 2 1 2), PyTorch repeats each (1 1 2 2)"
    for axis in range(x.ndim):  # a view of heads that were repeated along an axis of their own
        if out.ndim > axis + 1 and op.name == "expand" and x.shape[axis] == 1 < out.shape[axis] and axis:
            count, heads = out.shape[axis], x.shape[axis - 1]
            tiled = x.squeeze(axis).repeat(*(count if a == axis - 1 else 1 for a in range(x.ndim - 1)))
            yield Guess(words, {op.outputs[0]: tiled.unflatten(axis - 1, (heads, count))})
        if op.name != "expand" and out.ndim == x.ndim and x.shape[axis] and out.shape[axis] > x.shape[axis]:
            count = out.shape[axis] // x.shape[axis]
            if torch.equal(out, x.repeat_interleave(count, axis)):
                yield Guess(words, {op.outputs[0]: x.repeat(*(count if a == axis else 1 for a in range(x.ndim)))})


def rotations(x: torch.Tensor) -> Iterator[tuple[Setting, torch.Tensor]]:
    """Yield vectors turned by their positions, in every usual way."""
    size = x.shape[-1]
    for axis in range(1, x.ndim - 1):
        for base in BASES:
            angles = torch.arange(x.shape[axis])[:, None] * base ** (-torch.arange(0, size, 2) / size).double()
            angles = angles.reshape(-1, *(1 for _ in range(x.ndim - axis - 2)), size // 2)
            for halves in (True, False):
                a, b = (x[..., : size // 2], x[..., size // 2 :]) if halves else (x[..., ::2], x[..., 1::2])
                for way in (1, -1):
                    sin, cos = way * angles.sin(), angles.cos()
                    yield (base, halves, way, axis), torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def rotary_words(ours: Setting, theirs: Setting) -> str:
    """Say how two rotations differ."""
    words = []
    if ours[0] != theirs[0]:
        words.append(f"base {theirs[0]} instead of {ours[0]}")
    if ours[1] != theirs[1]:
        names = {True: "halves", False: "neighbouring pairs"}
        words.append(f"of {names[theirs[1]]} instead of {names[ours[1]]}")
    if ours[2] != theirs[2]:
        words.append("in the opposite direction")
    if ours[3] != theirs[3]:
        words.append("along another axis")
    return "rotary positions: " + ", ".join(words)
