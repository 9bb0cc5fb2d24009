"""Every check of a registered network but those of its training."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

import jaxnets
import torchnets
from data.registry import lookup
from experiment.registry import Entry
from parity.checks.layers import check
from parity.checks.small import build_small, names, real_batches
from parity.checks.structure import Counts, check_full_size, check_structure
from parity.checks.verdicts import guarded
from parity.report import Failure, Report, Result
from parity.sides.flax_side import FlaxSide

EXAMPLES = 8  # of the checks of a single pass


def check_network(name: str, *, full: bool = False, seed: int = 0) -> Report:
    """Run every check on a registered network but those of its training.

    Structure and shapes are checked in full size, where no weights are made; all that is computed, in the small one.

    Raises:
        UserError: no such network.
    """
    lookup("model", name, dict.fromkeys(names()))
    twins = _check_twins(name, jaxnets.MODELS, torchnets.MODELS)
    if twins.failure:
        return Report(name, (twins,))
    whole = (
        guarded(lambda: _check_count(name), "structure, full size", "structure"),
        guarded(lambda: _check_shapes(name), "full size", "structure"),
    )
    torch_module, flax_module, input_shape = build_small(name, seed, full=full)
    inputs = real_batches(input_shape, 1, seed)[0].inputs[:EXAMPLES]
    report = check(torch_module, flax_module, inputs, name=name, seed=seed, same_names=True)
    return report._replace(results=(twins, *whole, *report.results))


def _build_abstract(name: str) -> tuple[Any, FlaxSide]:
    with torch.device("meta"):
        torch_module = torchnets.MODELS[name].build()
    return torch_module, FlaxSide(jaxnets.MODELS[name].build(), np.float32)


def _check_count(name: str) -> Result:
    entry = torchnets.MODELS[name]
    counts = Counts(entry.num_params, entry.num_frozen)
    result = check_structure(*_build_abstract(name), entry.input_shape, counts)
    failure = result.failure and result.failure._replace(check="structure, full size")
    return result._replace(check="structure, full size", failure=failure)


def _check_shapes(name: str) -> Result:
    return check_full_size(*_build_abstract(name), torchnets.MODELS[name].input_shape)


def _check_twins(name: str, flax_models: Mapping[str, Entry], torch_models: Mapping[str, Entry]) -> Result:
    """Both sides have the network, and say the same of it."""
    fault = ""
    for side, models in (("jaxnets", flax_models), ("torchnets", torch_models)):
        if name not in models:
            fault = f"missing in {side}.MODELS: there is no proof without a twin"
    if not fault:
        ours, theirs = torch_models[name], flax_models[name]
        for field in Entry._fields:
            if field != "build" and getattr(ours, field) != getattr(theirs, field):
                fault = f"{field} is {getattr(ours, field)!r} in torchnets, {getattr(theirs, field)!r} in jaxnets"
    failure = Failure("twins", "structure", name, np.inf, 0.0, fault) if fault else None
    return Result("twins", np.inf if fault else 0.0, 0.0, "", failure=failure)
