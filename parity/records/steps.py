"""The steps of a PyTorch training as a header and arrays, and back."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from parity.records.encode import Arrays, Found, line_header, line_of, named_header, packed, text, unpacked
from parity.sides.random_draws import MASK, NORMAL, OTHER, UNIFORM, Draw
from parity.trace.lines import Line
from parity.training.precision import Precision
from parity.training.steps import Group, Snapshot, TorchStep
from parity.training.supply import Drawn

STAGES = frozenset(["loss", "update", "between", "after"])  # that have a line


def step_header(step: TorchStep, kept: Arrays, number: int) -> dict[str, Any]:
    """Return a step as data; its arrays are added to `kept`."""
    name = f"steps/{number}"

    def named(arrays: Mapping[str, np.ndarray], kind: str) -> dict[str, Any]:
        return named_header(arrays, kept.add, f"{name}/{kind}")

    def listed(arrays: Sequence[np.ndarray], kind: str) -> list[Any]:
        return [kept.add(f"{name}/{kind}/{i}", array) for i, array in enumerate(arrays)]

    def snapshot(at: Snapshot, kind: str) -> dict[str, Any]:
        parts = {key: named(getattr(at, key), f"{kind}/{key}") for key in ("params", "buffers")}
        for key in ("slots", "averages"):
            parts[key] = {place: named(a, f"{kind}/{key}/{place}") for place, a in getattr(at, key).items()}
        return parts

    groups = list[Any]()
    chosen = {}
    for parameter, group in step.groups.items():
        data = [group.optimizer, packed(group.settings), group.number]
        if data not in groups:
            groups.append(data)
        chosen[parameter] = groups.index(data)
    return {
        "loss": packed(step.loss),
        "roots": packed(step.roots),
        "inputs": listed(step.inputs, "inputs"),
        "outputs": listed(step.outputs, "outputs"),
        "pieces": [named(piece, f"pieces/{i}") for i, piece in enumerate(step.pieces)],
        "raw": named(step.raw, "raw"),
        "gradients": named(step.gradients, "gradients"),
        "groups": [groups, chosen],
        "before": snapshot(step.before, "before"),
        "after": snapshot(step.after, "after"),
        "lines": {stage: line_header(line) for stage, line in step.lines.items() if line is not None},
        "random": step.random,
        "held": None if step.held is None else named(step.held, "held"),
        "calls": [named(buffers, f"calls/{i}") for i, buffers in enumerate(step.calls)],
    }


def step_of(header: Mapping[str, Any], found: Found) -> TorchStep:
    """Return the step of a header."""

    def listed(rows: Any) -> tuple[np.ndarray, ...]:
        return tuple(found.array(where) for where in rows)

    def snapshot(at: Mapping[str, Any]) -> Snapshot:
        slots, averages = ({text(k): _named(a, found) for k, a in at[key].items()} for key in ("slots", "averages"))
        return Snapshot(_named(at["params"], found), _named(at["buffers"], found), slots, averages)

    groups, chosen = header["groups"]
    groups = [Group(text(optimizer), _settings(settings), int(number)) for optimizer, settings, number in groups]
    loss = header["loss"]
    return TorchStep(
        None if loss is None else number_of(loss),
        tuple(map(number_of, header["roots"])),
        listed(header["inputs"]),
        listed(header["outputs"]),
        tuple(_named(piece, found) for piece in header["pieces"]),
        _named(header["raw"], found),
        _named(header["gradients"], found),
        {text(parameter): groups[number] for parameter, number in chosen.items()},
        snapshot(header["before"]),
        snapshot(header["after"]),
        {text(stage): line_of(line) for stage, line in header["lines"].items() if stage in STAGES},
        text(header["random"]),
        tuple(_named(buffers, found) for buffers in header["calls"]),
        None if header["held"] is None else _named(header["held"], found),
    )


def _named(header: Mapping[str, Any], found: Found) -> dict[str, np.ndarray]:
    return {text(name): found.array(where) for name, where in header.items()}


def _settings(header: Any) -> dict[str, Any]:
    settings = unpacked(header, 0)
    if not isinstance(settings, dict):
        raise TypeError("the settings of an optimizer are no names with values")
    return settings


def number_of(value: Any) -> float:
    """Return a number of a header."""
    value = unpacked(value, 0)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"a number is {type(value).__name__}")
    return float(value)


def draws_header(drawn: Sequence[Drawn], add: Callable[[str, np.ndarray], Any], name: str) -> list[Any]:
    """Return random numbers as data."""
    return [
        [
            draw.kind,
            list(draw.shape),
            draw.keep if draw.keep is None or math.isfinite(draw.keep) else None,
            None if draw.line is None else line_header(draw.line),
            add(f"{name}/{i}", numbers),
        ]
        for i, (draw, numbers) in enumerate(drawn)
    ]


def draws_of(header: Any, found: Found) -> list[Drawn]:
    """Return the random numbers of a header."""
    drawn = []
    for kind, shape, keep, line, where in header:
        if kind not in (MASK, UNIFORM, NORMAL, OTHER):
            raise ValueError(f"random numbers are of the kind {kind!r}")
        numbers = found.array(where)
        if numbers.shape != tuple(shape):
            raise ValueError("random numbers have another shape than their draw")
        keep = None if keep is None else number_of(keep)
        drawn.append(Drawn(Draw(kind, numbers.shape, keep, None if line is None else line_of(line)), numbers))
    return drawn


def precision_header(precision: Precision | None) -> Any:
    """Return the types of a step as data."""
    if precision is None:
        return None
    products, losses = (
        [[kind, None if line is None else line_header(line)] for kind, line in rows]
        for rows in (precision.products, precision.losses)
    )
    return [products, losses, precision.params, precision.slots, *([precision.raised] if precision.raised else [])]


def precision_of(header: Any) -> Precision | None:
    """Return the types of a header."""
    if header is None:
        return None
    products, losses, params, slots, *raised = header

    def rows(part: Any) -> list[tuple[str, Line | None]]:
        return [(text(kind), None if line is None else line_of(line)) for kind, line in part]

    kinds = {text(slot): {text(k): text(v) for k, v in own.items()} for slot, own in slots.items()}
    words = "; ".join(map(text, raised))
    return Precision(rows(products), rows(losses), {text(k): text(v) for k, v in params.items()}, kinds, words)
