"""Hypotheses about how operations are put together: left out, in another order, of other operands, doubled."""

from collections.abc import Iterator
from typing import Any

import torch

from parity.align.replay import Guess, Replay
from parity.trace.values import VIEWS, Op

ELSEWHERE = 25  # earlier values that may be taken instead of an operand
NORMS = ("native_layer_norm", "native_group_norm", "native_batch_norm", "rsqrt")
MASKED = -1e3  # a mask adds less
CHAIN = 16  # operations that may be left out together
WORDS = {
    "native_layer_norm": "the norm",
    "native_group_norm": "the norm",
    "native_batch_norm": "the norm",
    "cudnn_batch_norm": "the norm",
    "relu": "ReLU",
    "silu": "SiLU",
    "gelu": "GELU",
    "tanh": "tanh",
    "sigmoid": "the sigmoid",
    "mean": "the mean",
    "sum": "the sum",
    "addmm": "the linear layer",
    "mm": "the product",
    "bmm": "the product",
    "convolution": "the convolution",
    "_softmax": "softmax",
    "add": "the sum",
    "mul": "the product",
    "cat": "the concatenation",
}


def left_out(replay: Replay, number: int) -> Iterator[Guess]:
    """Yield an operation that is left out: its operand is handed on."""
    op = replay.op(number)
    if op.name in VIEWS or not op.outputs or op.name.rstrip("_") in ("masked_fill", "where"):
        return
    out = replay.tensor(op.outputs[0])
    if any(bool((replay.tensor(n) < MASKED).any()) for n in op.inputs if replay.floats(n)):
        return
    for place, given in enumerate(op.inputs):
        if not replay.data(given) or not replay.floats(given):
            continue
        x = replay.tensor(given)
        if x.numel() == out.numel() or op.name.rstrip("_") in ("add", "sub", "mul", "div"):
            try:
                x = x.reshape(out.shape) if x.numel() == out.numel() else x.expand(out.shape)
            except RuntimeError:
                continue
            yield Guess(_left_out_words(replay, op, place), {op.outputs[0]: x}, given)


def _left_out_words(replay: Replay, op: Op, place: int) -> str:
    base = op.name.rstrip("_")
    others = [n for k, n in enumerate(op.inputs) if k != place]
    if base in ("mul", "div") and not others:
        return f"the scale {_scalar(base, op.settings[1])} is left out"
    if base in ("mul", "div"):
        keys = _keys(replay, others[0])
        return f"the scale {keys} is left out" if keys else "a factor (a gate or a scale) is left out"
    if base in ("add", "sub") and others:
        keys = _keys(replay, others[0])
        return f"{keys} is not added" if keys else "one operand of the sum is left out (a residual)"
    if base == "add":
        return f"{op.settings[1]} is not added"
    if base == "pow":
        return "the square is left out" if op.settings[1] == 2 else f"the power {op.settings[1]} is left out"
    if base in NORMS:
        return "the norm is left out, or it stands elsewhere"
    return f"{named(op)} is left out"


def _scalar(name: str, factor: Any) -> str:
    try:
        return number_words(float(factor) if name == "mul" else 1 / float(factor))
    except (TypeError, ValueError, ZeroDivisionError):
        return str(factor)


def _keys(replay: Replay, number: int) -> str:
    return ", ".join(sorted(replay.trace.values[number].keys)) if not replay.data(number) else ""


def named(op: Op) -> str:
    """Return an operation's name in words."""
    return WORDS.get(op.name.rstrip("_"), op.name.strip("_"))


def chains(replay: Replay, number: int) -> Iterator[Guess]:
    """Yield several operations left out together: a norm that is written out, a rotation."""
    behind = replay.behind(number, CHAIN)
    for given in replay.op(number).inputs:
        if not replay.data(given) or not replay.floats(given):
            continue
        for given_ in dict.fromkeys((given, *_makers_inputs(replay, given))):
            x = replay.tensor(given_)
            for other in behind[1:]:
                op = replay.op(other)
                if op.name in VIEWS or not op.outputs or replay.tensor(op.outputs[0]).shape != x.shape:
                    continue
                names = [replay.op(n).name.rstrip("_") for n in _between(replay, given_, other)]
                yield Guess(_chain_words(names, x.ndim), {op.outputs[0]: x}, given_)


def _between(replay: Replay, given: int, last: int) -> list[int]:
    """Return the operations by which a value is made from another, in order."""
    found, front = set[int](), [last]
    while front and len(found) < 4 * CHAIN:
        number = front.pop()
        if number in found:
            continue
        found.add(number)
        makers = [replay.trace.values[n].maker for n in replay.op(number).inputs if n != given and replay.data(n)]
        front += [m for m in makers if m is not None and m > (replay.trace.values[given].maker or -1)]
    return sorted(found)


def _makers_inputs(replay: Replay, number: int) -> tuple[int, ...]:
    maker = replay.trace.values[number].maker
    return () if maker is None else tuple(n for n in replay.op(maker).inputs if replay.data(n) and replay.floats(n))


def _chain_words(names: list[str], rank: int) -> str:
    if any(name in NORMS for name in names):
        return "the norm is left out, or it stands elsewhere"
    halves = any(name in names for name in ("cat", "stack", "neg", "sub"))  # a product or two alone turn nothing
    turned = ("cat" in names and "neg" in names) or (names.count("mul") >= 2 and halves and rank > 2)
    if turned or "view_as_complex" in names:
        return "rotary positions are not applied"
    kept = [name for name in dict.fromkeys(names) if name not in VIEWS]
    return f"what stands between is left out ({', '.join(kept[:4])})"


def swapped(replay: Replay, number: int) -> Iterator[Guess]:
    """Yield two operations in the other order: the next one first, on an operand of this one."""
    op = replay.op(number)
    for user in replay.behind(number, 6)[1:]:
        later = replay.op(user)
        taken = next((n for n in later.inputs if replay.source(n) in op.outputs or n in op.outputs), None)
        if taken is None or later.name in VIEWS or not later.outputs or not replay.floats(later.outputs[0]):
            continue
        for given in op.inputs:
            if not replay.data(given) or not replay.floats(given):
                continue
            try:
                first = replay.run(later, {taken: replay.tensor(given)})[0]
                result = replay.run(op, {given: first})[0].reshape(replay.tensor(later.outputs[0]).shape)
            except Exception:  # they do not fit in this order
                continue
            yield Guess(f"{named(later)} comes before {named(op)} instead of after it", {later.outputs[0]: result})


def elsewhere(replay: Replay, number: int) -> Iterator[Guess]:
    """Yield an operand taken from another place."""
    op = replay.op(number)
    if op.name in VIEWS:
        return
    for given in dict.fromkeys(op.inputs):
        if not replay.data(given) or not replay.floats(given):
            continue
        shape, seen = replay.tensor(given).shape, 0
        for other in range(len(replay.trace.values) - 1, -1, -1):
            value = replay.trace.values[other]
            if other in op.outputs or not value.data or value.partial or value.array.shape != shape:
                continue
            if other == given or value.array.dtype.kind != "f" or (value.maker or 0) >= number:
                continue
            seen += 1
            if seen > ELSEWHERE:
                break
            made = replay.op(value.maker) if value.maker is not None else None
            place = f"the result of {named(made)} ({made.line or made.name})" if made else "an input"
            what = "the residual is" if op.name.rstrip("_") == "add" else f"an operand of {named(op)} is"
            try:
                result = replay.run(op, {given: replay.tensor(other)})[0]
            except Exception:  # it does not fit
                continue
            # What follows a norm agrees without a scale before it: where the scale itself is missed, both part later.
            maker = replay.trace.values[replay.source(given)].maker
            inputs = [] if maker is None else [replay.source(n) for n in replay.op(maker).inputs]
            if maker is not None and replay.source(other) in inputs:
                words = _left_out_words(replay, replay.op(maker), inputs.index(replay.source(other)))
                yield Guess(words, {op.outputs[0]: result}, other, maker)
                continue
            yield Guess(f"{what} taken from elsewhere: {place}", {op.outputs[0]: result})


def rewritten(replay: Replay, number: int) -> Iterator[Guess]:
    """Yield sums and products with another sign, an operand doubled, a gate inverted."""
    op = replay.op(number)
    base, out = op.name.rstrip("_"), op.outputs[0] if op.outputs else -1
    if base in ("add", "sub") and len(op.inputs) == 2:
        a, b = (replay.tensor(n) for n in op.inputs)
        yield Guess("the sign is reversed: subtracted instead of added", {out: a - b})
        yield Guess("the sign is reversed: subtracted instead of added", {out: b - a})
        yield Guess("added instead of subtracted: a sign", {out: a + b})
        yield Guess("the second operand is added twice", {out: a + 2 * b})
        yield Guess("the first operand is added twice", {out: 2 * a + b})
        yield Guess("multiplied instead of added", {out: a * b})
    if base == "mul" and len(op.inputs) == 2:
        a, b = (replay.tensor(n) for n in op.inputs)
        yield Guess("the gate is inverted: 1 - z instead of z", {out: a * (1 - b)})
        yield Guess("the gate is inverted: 1 - z instead of z", {out: (1 - a) * b})
        yield Guess("1 is added to the scale", {out: a * (1 + b)})
        yield Guess("1 is added to the scale", {out: (1 + a) * b})
        yield Guess("multiplied by the factor twice", {out: a * b * b})
        yield Guess("added instead of multiplied", {out: a + b})
    if base == "rsub" or (base in ("exp", "log", "sqrt", "rsqrt", "neg") and op.inputs):
        x = replay.tensor(op.inputs[0])
        yield Guess("the sign is reversed", {out: -replay.tensor(out)})
        yield Guess("the square is left out or done twice", {out: replay.tensor(out) ** 2})
        yield Guess(f"{named(op)} is left out", {out: x})
    if base in ("mm", "addmm") and not replay.data(op.inputs[-1]):
        x = op.inputs[-2]
        words = "the state is not carried: it is zero in each step"
        yield Guess(words, {out: replay.run(op, {x: torch.zeros_like(replay.tensor(x))})[0]})


def low_precision(replay: Replay, number: int) -> Iterator[Guess]:
    """Yield what an operation gives in a lower precision."""
    op = replay.op(number)
    if op.name in VIEWS or not op.outputs or not replay.floats(op.outputs[0]):
        return
    for dtype, name in ((torch.float16, "float16"), (torch.bfloat16, "bfloat16")):
        words = f"computed in {name} instead of float64"
        yield Guess(words, {op.outputs[0]: replay.tensor(op.outputs[0]).to(dtype).double()})
        rounded = {n: replay.tensor(n).to(dtype).double() for n in op.inputs if replay.floats(n)}
        yield Guess(words, {op.outputs[0]: replay.run(op, rounded)[0]})


def number_words(factor: float) -> str:
    """Return a factor, as a root where it is one."""
    for size in range(2, 4097):
        if abs(abs(factor) - size) < 1e-6 * size or abs(abs(factor) - 1 / size) < 1e-6 / size:
            return f"{factor:.6g}"
        if abs(abs(factor) - size**0.5) < 1e-6 * size**0.5:
            return f"{'-' if factor < 0 else ''}sqrt({size})"
        if abs(abs(factor) - size**-0.5) < 1e-6 * size**-0.5:
            return f"{'-' if factor < 0 else ''}1/sqrt({size})"
    return f"{factor:.6g}"
