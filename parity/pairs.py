"""Any pair of modules: layer by layer if both have the same ones; if not, or if that fails, operation by operation."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from flax import linen as nn
from flax import nnx

from data import UserError
from parity.checks import layers as checks
from parity.checks.float32 import CHECKS as FLOAT32_CHECKS
from parity.checks.float32_operations import LEAST
from parity.checks.layer_match import match
from parity.checks.verdicts import CRASHED, NOT_LOCATED
from parity.mapping.rule import Rule
from parity.ports import Port, check_port
from parity.report import Report
from parity.sides.flax_side import FlaxSide
from parity.sides.jax_side import is_jax_model
from parity.sides.torch_module import uncompiled

FORWARD = "forward, eval"


def check(
    torch_module: Any,
    jax_model: Any,
    inputs: Any,
    jax_inputs: Any = None,
    *,
    purpose: str = "training",
    accept: Collection[str] = (),
    layout: str | None = None,
    mapping: Mapping[str, Rule] | Mapping[str, str] | Path | None = None,
    output_mask: Any = None,
    name: str = "",
    num_params: int | None = None,
    seed: int = 0,
    same_names: bool = False,
    fail_fast: bool = False,
) -> Report:
    """Prove that two models are the same network, or say where they are not; neither is changed.

    The reference is a PyTorch module, or a JAX model: Linen against NNX, Haiku against Equinox.

    A Linen or NNX module with one floating-point input and the layers of its twin is checked layer by layer, in
    float64 and float32, with dropout's masks shared (`parity.checks.layers`). Any other port is checked operation by
    operation.

    Args:
        torch_module: the reference; a JAX model will do, too.
        jax_model: a Linen, NNX or Equinox module, a pair (apply, params), or a function that holds its parameters.
        inputs: at least two examples: an array, a tuple of arrays, or a dict by name. An array of pictures is channels
            last, (N, H, W, C), unless only channels first fits both sides.
        jax_inputs: the same, where the JAX model is given something else.
        purpose: "training", or "inference": weights and forward pass alone.
        accept: conventions that are no fault here: "trap-1", Flax's BatchNorm keeps the biased variance.
        layout: how the inputs are given: see `parity.sides.inputs.LAYOUTS`; None: what both sides take.
        mapping: what is known of the weights: keys of the state_dict to paths of leaves, rules by path, or a file.
        output_mask: of positions of the output that are compared, True; padded ones may differ.
        name: what the report is called; by default the JAX model's class.
        num_params: how many trainable values there must be; None if nobody has published it.
        seed: of the random weights, statistics, masks and cotangents.
        same_names: require the same names on both sides, up to `parity.to_flax`'s rule.
        fail_fast: make no further check after the first that fails.

    Returns:
        A report with `ok` and `failures`; each failure names the line on both sides where it could be found.

    Raises:
        UserError: an argument is wrong, or a side cannot be called with these inputs.
    """
    torch_module = uncompiled(torch_module)
    plain = isinstance(jax_model, nn.Module | nnx.Module) and is_plain(inputs) and (jax_inputs, layout) == (None, None)
    plain = plain and purpose == "training" and not accept and output_mask is None
    plain = (
        plain and not isinstance(mapping, Path) and all(isinstance(value, str) for value in (mapping or {}).values())
    )
    plain = plain and not is_jax_model(torch_module)
    report = None
    if plain or same_names:
        options: Any = {"num_params": num_params, "seed": seed, "mapping": mapping, "same_names": same_names}
        report = checks.check(torch_module, jax_model, inputs, name=name, fail_fast=fail_fast, **options)
        counted = not report.ok and report.failures[0].layer == "parameters"  # against the published number
        if report.ok or same_names or counted:
            return report
    wanted: Any = {"purpose": purpose, "accept": accept, "layout": layout, "output_mask": output_mask}
    wanted |= {"mapping": mapping, "name": name, "seed": seed}
    if report is None:
        return check_port(torch_module, jax_model, inputs, jax_inputs, **wanted).report
    return located(report, torch_module, jax_model, inputs, **wanted)[0]


def located(
    report: Report, torch_module: Any, jax_model: Any, inputs: Any, **options: Any
) -> tuple[Report, Port | None]:
    """Return what the check of operations adds to a report of layers that fails: the lines, or that it is no fault."""
    try:
        port = _by_layers(torch_module, jax_model, inputs, **options)
        port = port or check_port(torch_module, jax_model, inputs, **options)
    except UserError as error:
        return report._replace(notes=(*report.notes, f"the lines were not found: {error}")), None
    return better_of(report, port), port


def _by_layers(torch_module: Any, jax_model: Any, inputs: Any, *, mapping: Any = None, **options: Any) -> Port | None:
    """Return what is found with the weights of the layers that names and shapes tell; None if that explains nothing.

    It takes a tenth of the time of a search for the weights, most of which nothing confirms behind a fault. They are
    right if PyTorch's operation, changed as the report says, gives the JAX model's numbers.
    """
    try:
        found = match(torch_module, FlaxSide(jax_model, np.float64), inputs, mapping)
        port = check_port(torch_module, jax_model, inputs, mapping=found.certain, **options) if found.certain else None
    except Exception:  # inputs or layers of another kind: the search is for all
        return None
    doubtful = (f for f in port.report.failures if f.check in ("weights", FORWARD)) if port else ()
    return port if all(f.cause and f.torch_line and f.jax_line for f in doubtful) else None


def is_plain(inputs: Any) -> bool:
    """Tell whether inputs are one array of floats, of examples."""
    return isinstance(inputs, np.ndarray) and inputs.dtype.kind == "f" and inputs.ndim > 1 and len(inputs) > 1


def better_of(report: Report, port: Port) -> Report:
    """Return the report that says more of a port that the check of layers does not pass."""
    if report.failures[0].stage == "structure" or NOT_LOCATED in report.failures[0].diagnosis:
        return port.report
    whole = not any("not compared" in result.note for result in port.report.results)
    if report.failures[0].layer == CRASHED and whole:
        return port.report
    rounding = report.fault is None or report.fault.error <= LEAST
    low = port.pair.narrow or any("here instead of" in note for note in port.pair.notes)
    alone = all(failure.check in FLOAT32_CHECKS for failure in report.failures)  # float64's agree on both
    forward = any(result.check == FORWARD and not result.failure for result in port.report.results)
    disproved = port.ok or (forward and report.failures[0].check == FORWARD)  # it may fail in another check
    if disproved and whole and rounding and not alone and (low or (report.fault is None and port.is_plain)):
        return port.report  # float32 inside, or layers that are laid out or called in another way
    if report.verdict == "compiler":
        return report
    line = next((f for f in port.report.failures if f.torch_line and f.stage == report.failures[0].stage), None)
    if line is None:
        return report
    first = report.failures[0]._replace(torch_line=line.torch_line, jax_line=line.jax_line)
    results = (r._replace(failure=first) if r.failure is report.failures[0] else r for r in report.results)
    return report._replace(results=tuple(results))
