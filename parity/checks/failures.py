"""Differences that a walk finds, as failures: one for each cause, with words and the line on each side."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from parity.align.frontier import Difference
from parity.align.lockstep import NEAR, Walk
from parity.align.places import line_without, lines_of
from parity.align.words import explained
from parity.report import Failure
from parity.report.compare import difference
from parity.trace.fingerprint import Fingerprint


def failures_of(differences: Sequence[tuple[Walk, Difference]]) -> list[Failure]:
    """Return one failure for each cause: layers of one kind have their lines in common, and are listed."""
    groups: dict[Any, list[tuple[Walk, Difference]]] = {}
    for walk, found in differences:
        lines = lines_of(walk, found)
        groups.setdefault(lines if all(lines) else len(groups), []).append((walk, found))
    causes: dict[Any, tuple[Failure, dict[str, None]]] = {}
    for group in groups.values():
        failure = _failure(*group[0])
        lines = failure.torch_line, failure.jax_line
        _, layers = causes.setdefault(lines if all(lines) else len(causes), (failure, {}))
        layers |= dict.fromkeys(w.trace.ops[d.op].scope or w.trace.ops[d.op].name for w, d in group)
    return [
        f._replace(diagnosis=f"{f.diagnosis}; in {len(layers)} layers: {', '.join(layers)}") if len(layers) > 1 else f
        for f, layers in causes.values()
    ]


def _failure(walk: Walk, found: Difference) -> Failure:
    """Return a difference in words, with the line on each side."""
    looks = explained(walk, found)
    if not looks.words and found.joined is not None:  # one of several operands, each of which may be the first to part
        later = explained(walk, found._replace(op=found.joined))
        looks, found = (later, found._replace(op=found.joined)) if later.words else (looks, found)
    before = looks.op is not None
    found = found._replace(op=looks.op) if looks.op is not None else found
    op = walk.trace.ops[found.op]
    cell = walk.cells[found.cell] if found.cell is not None else None
    theirs = lines_of(walk, found)[1] if looks.given is None else line_without(walk, found, looks.given, before)
    words, error = f"{op.line or op.name} against {theirs or (cell.name if cell else 'nothing')}", np.inf
    values = None
    if found.arranged is not None and found.counterpart is not None:
        other = np.asarray(walk.cells[found.counterpart].computed, np.float64)
        apart = difference("", found.arranged, other, NEAR[8])
        error, values = apart.error, apart.values
        words += f": {apart.detail}"
    else:
        words += _norms(walk, found)
    if looks.words:
        words += f"; {looks.words}"
    layer, mine = op.scope or op.name, op.line
    if found.tables is not None and found.tables[:2] != (mine, theirs):
        mine, theirs, what = found.tables
        words = f"{mine} against {theirs}: a {what} that depends on no input parts there; it meets data at {words}"
    return Failure("forward, eval", "forward", layer, error, NEAR[8], words, None, mine, theirs, values, looks.words)


def _norms(walk: Walk, found: Difference) -> str:
    """Return words for a result of which a record has the fingerprint alone."""
    ours = next((walk.trace.values[n].array for n in walk.trace.ops[found.op].outputs), None)
    theirs = walk.cells[found.cell].computed if found.cell is not None else None
    if not isinstance(ours, Fingerprint) or theirs is None or np.size(theirs) != ours.size:
        return ""
    norm = np.linalg.norm(np.asarray(theirs, np.float64))
    return f": the norm is {ours.norm:.9g} in PyTorch, {norm:.9g} in Flax"
