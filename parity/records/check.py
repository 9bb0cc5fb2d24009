"""Comparing a JAX model with a record of a PyTorch module. PyTorch is not needed."""

import itertools
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from data.errors import UserError
from parity.align.pair import PortPair, aligned
from parity.mapping.rule import Rule
from parity.records.compared import compared
from parity.records.module import RecordedModule
from parity.records.opened import open_record
from parity.report import Report
from parity.sides.draw import Inputs
from parity.sides.faults import explained
from parity.sides.given import (
    BOTH,
    FIRST,
    LAST,
    SAME,
    arrays,
    channels_first,
    channels_last,
    choices,
    fitted,
    moved,
    normalised,
    said,
)
from parity.sides.jax_inputs import distance, jax_parameters
from parity.sides.jax_side import JaxSide, jax_side

MOST = 64  # layouts that are tried
NEAR = 0.02
TORCH = {LAST: LAST, BOTH: LAST, SAME: SAME, FIRST: SAME}  # how PyTorch is given an input, by its layout


def align_record(
    module: RecordedModule, model: Any, jax_inputs: Any = None, *, layout: str | None = None, mapping: Any = None
) -> PortPair:
    """Find which value of a record is which of a JAX model's; arguments as for `check_record`."""
    if jax_inputs is not None:
        theirs = fitted(normalised(jax_inputs), jax_parameters(model), "JAX")[0]
        words = "both sides are given inputs of their own"
        side = jax_side(model, *theirs, bare=not module.trained)
        return aligned(module, side, module.inputs, theirs, words, mapping)
    side, theirs, words = _laid_out(module, model, layout)
    return aligned(module, side, module.inputs, theirs, "; ".join(words), mapping)


def _laid_out(module: RecordedModule, model: Any, layout: str | None) -> tuple[JaxSide, Inputs, list[str]]:
    """Return the JAX side and its inputs, in the best layout of those in which PyTorch was given the recorded ones."""
    names, errors = jax_parameters(model), list[str]()
    best: tuple[float, JaxSide, Inputs, list[str]] | None = None
    convolves_first = LAST in module.ways.values()
    for chosen in itertools.islice(choices(arrays(module.given), convolves_first, layout), MOST):
        if any(TORCH[way] != module.ways.get(name, SAME) for name, way in chosen.items()):
            continue
        turned = moved(moved(module.given, chosen, (FIRST,), channels_last), chosen, (BOTH,), channels_first)
        theirs, notes = fitted(turned, names, "JAX")
        try:
            side = jax_side(model, *theirs, bare=not module.trained)
        except UserError as error:
            errors.append(str(error))
            continue
        apart = distance(module, side, module.recorded(module.inputs).outputs)
        if best is None or apart < best[0]:
            best = apart, side, theirs, [*said(chosen), *notes]
        if apart < NEAR:
            break
    if best is None:
        raise UserError(errors[0] if errors else f"--layout {layout}: PyTorch was not given the recorded inputs so")
    return best[1:]


def check_record(
    record: Path | str | RecordedModule,
    jax_model: Any,
    jax_inputs: Any = None,
    *,
    purpose: str = "training",
    accept: Collection[str] = (),
    layout: str | None = None,
    mapping: Mapping[str, Rule] | Mapping[str, str] | Path | None = None,
    output_mask: Any = None,
    name: str = "",
) -> tuple[PortPair, Report]:
    """Prove that a JAX model is a port of the recorded PyTorch module, or say where the two part.

    Args:
        record: a file that `parity record` has written, or what `open_record` returns.
        jax_model: as for `parity.check`.
        jax_inputs: inputs of the JAX model, where it is given others than were recorded.
        purpose: "training", or "inference": weights and forward pass alone.
        accept: conventions that are no fault here.
        layout: how the recorded inputs are given.
        mapping: what is known of the weights.
        output_mask: of positions of the output that are compared, True.
        name: what the report is called.

    Raises:
        UserError: the record cannot be read, or the JAX side cannot be called with its inputs.
    """
    module = record if isinstance(record, RecordedModule) else open_record(Path(record))
    try:
        pair = align_record(module, jax_model, jax_inputs, layout=layout, mapping=mapping)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the JAX side cannot be compared with the record: {explained(error)}") from error
    return pair, compared(pair, purpose, accept, output_mask, name or module.made.name, module.made)
