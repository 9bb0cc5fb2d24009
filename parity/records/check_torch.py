"""Comparing a PyTorch module with a record of a JAX model. JAX is not needed."""

import itertools
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from data.errors import UserError
from parity.align.pair import PortPair, aligned
from parity.records.compared import compared
from parity.records.jax_side import RecordedSide
from parity.records.opened import open_side
from parity.report import Report
from parity.sides.draw import Inputs
from parity.sides.faults import described, explained
from parity.sides.given import (
    BOTH,
    FIRST,
    LAST,
    SAME,
    arrays,
    channels_first,
    choices,
    fitted,
    moved,
    normalised,
    said,
)
from parity.sides.numbers import to_numpy
from parity.sides.outputs import named_leaves
from parity.sides.signatures import parameters
from parity.sides.torch_module import TorchModule

MOST = 64  # layouts that are tried
JAX = {LAST: SAME, SAME: SAME, BOTH: BOTH, FIRST: FIRST}  # how JAX is given an input, by its layout


def check_jax_record(
    record: Path | str | RecordedSide,
    torch_module: Any,
    torch_inputs: Any = None,
    *,
    purpose: str = "training",
    accept: Collection[str] = (),
    layout: str | None = None,
    mapping: Any = None,
    output_mask: Any = None,
    name: str = "",
    seed: int = 0,
) -> tuple[PortPair, Report]:
    """Prove that a recorded JAX model is a port of a PyTorch module, or say where the two part.

    Args:
        record: a file that `parity record` has written of a JAX model, or what `open_side` returns.
        torch_module: the reference.
        torch_inputs: its inputs, where it is given others than were recorded.
        purpose, accept, layout, mapping, output_mask, name: as for `check_record`.
        seed: of the random weights.

    Raises:
        UserError: the record cannot be read, or a side cannot be computed.
    """
    side = record if isinstance(record, RecordedSide) else open_side(Path(record))
    module = TorchModule(torch_module)
    try:
        side.check()
        if torch_inputs is not None:
            ours = fitted(normalised(torch_inputs), parameters(module.module.forward), "PyTorch")[0]
            words = ["both sides are given inputs of their own"]
        else:
            ours, words = _laid_out(module, side, layout)
        module.randomise(seed, *ours)
        pair = aligned(module, side, ours, side.inputs, "; ".join(words), mapping)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the PyTorch side cannot be compared with the record: {explained(error)}") from error
    return pair, compared(pair, purpose, accept, output_mask, name or side.made.name, side.made)


def _laid_out(module: TorchModule, side: RecordedSide, layout: str | None) -> tuple[Inputs, list[str]]:
    """Return PyTorch's inputs in the best layout of those in which JAX was given the recorded ones."""
    names, errors = parameters(module.module.forward), list[str]()
    sizes = {array.size for array in named_leaves(side.output).values()}
    best: tuple[int, Inputs, list[str]] | None = None
    for chosen in itertools.islice(choices(arrays(side.given), False, layout), MOST):
        if any(JAX[way] != side.ways.get(name, SAME) for name, way in chosen.items()):
            continue
        ours, notes = fitted(moved(side.given, chosen, (LAST, BOTH), channels_first), names, "PyTorch")
        try:
            with module.kept(), torch.no_grad():
                found = named_leaves(module.call(*ours, train=False))
        except Exception as error:
            where = described(module.module.forward, *ours)
            errors.append(f"the PyTorch side cannot be called: {explained(error)}; {where}")
            continue
        missing = sum(to_numpy(array).size not in sizes for array in found.values())
        if best is None or missing < best[0]:
            best = missing, ours, [*said(chosen), *notes]
        if not missing:
            break
    if best is None:
        raise UserError(errors[0] if errors else f"--layout {layout}: JAX was not given the recorded inputs so")
    return best[1:]
