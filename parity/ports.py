"""Any port: proved, its weights found and carried, what differs located to the line on both sides.

found = parity.match(torch_module, jax_model, inputs)     # found.to_flax(state_dict), found.to_torch(variables)
report = parity.check(torch_module, jax_model, inputs)    # report.ok, report.failures
parity.assert_port(torch_module, jax_model, inputs)       # in a test of yours
"""

import argparse
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data import UserError
from parity.align.idle import IDLE
from parity.align.pair import PortPair, align
from parity.checks.float32_operations import check_float32
from parity.checks.gradients import check_gradients
from parity.checks.larger import check_larger
from parity.checks.operations import (
    check_forward,
    check_round_trip,
    check_weights,
    still_open,
)
from parity.checks.training_mode import check_training_mode
from parity.jax_reference.check import check_jax_port
from parity.mapping import Mapping as Weights
from parity.mapping.native import native_names
from parity.mapping.rule import Rule
from parity.report import Report, Result
from parity.report.brief import brief
from parity.report.report import counts
from parity.report.table import as_text
from parity.sides import load
from parity.sides.draw import drawn, parse_input
from parity.sides.faults import explained
from parity.sides.jax_side import is_jax_model

PURPOSES = ("training", "inference")
ACCEPTABLE = {
    "trap-1": "BatchNorm keeps the biased variance",
    "trap-20": "dropout is at other places, or on one side alone",
    "trap-36": "the row of padding is trained",
}


class Port(NamedTuple):
    """What was found out about a port."""

    pair: PortPair
    report: Report
    model: Any = None  # the JAX model as it was given

    @property
    def mapping(self) -> Weights:
        """Return how each leaf is made of PyTorch's tensors."""
        return self.pair.weights

    @property
    def names(self) -> Mapping[str, str]:
        """Return the names of leaves in files, where they are not their paths (NNX)."""
        return native_names(self.model)

    @property
    def ok(self) -> bool:
        """Whether both are proved to be the same."""
        return self.report.ok

    @property
    def is_plain(self) -> bool:
        """Whether each leaf is one tensor of PyTorch's, up to the order of its axes."""
        steps = [rule.steps for rule in self.mapping.rules.values()]
        return all(len(some) <= 1 and all("->" in step and "(" not in step for step in some) for some in steps)

    @property
    def verdict(self) -> str:
        """Return one line."""
        if self.ok:
            return counts([self.report])
        failure = self.report.failures[0]
        return f"{failure.check} fails at {failure.layer}: {failure.diagnosis}"

    def to_flax(self, state_dict: Mapping[str, Any]) -> dict[str, Any]:
        """Return the JAX model's variables for a state_dict of the module."""
        return self.mapping.to_flax(state_dict)

    def to_torch(self, variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the module's state_dict for variables of the JAX model."""
        return self.mapping.to_torch(variables)


def match(
    torch_module: Any,
    jax_model: Any,
    inputs: Any,
    jax_inputs: Any = None,
    *,
    layout: str | None = None,
    mapping: Mapping[str, Rule] | Mapping[str, str] | Path | None = None,
    seed: int = 0,
) -> Port:
    """Find how the weights of a JAX model are made of a PyTorch module's, and prove it by the forward pass.

    Args:
        torch_module: the reference; any `torch.nn.Module`.
        jax_model: a Linen, NNX or Equinox module, a pair (apply, params), or a function that holds its parameters.
        inputs: an array, a tuple of arrays, or a dict by name, as both sides take them; pictures channels last or
            first (see `layout`).
        jax_inputs: the same, where the JAX model is given something else.
        layout: how the inputs are given: see `parity.sides.inputs.LAYOUTS`; None: what both sides take.
        mapping: rules of leaves that are known already, or a file of them.
        seed: of the random weights.

    Raises:
        UserError: a side cannot be called with these inputs.
    """
    return check_port(
        torch_module,
        jax_model,
        inputs,
        jax_inputs,
        purpose="inference",
        layout=layout,
        mapping=mapping,
        seed=seed,
        precision=False,
    )


def check_port(
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
    seed: int = 0,
    precision: bool = True,
) -> Port:
    """Prove that a JAX model is a port of a PyTorch module, or say where they part; arguments as for `match`.

    Args:
        purpose: "inference": weights and forward pass; "training": gradients and statistics, too.
        accept: conventions that are no fault here: "trap-1", Flax's BatchNorm keeps the biased variance.
        output_mask: of positions of the output that are compared, True; padded ones may differ.
        name: what the report is called.
        precision: whether outputs are compared in float32, and at larger weights, too.

    Raises:
        UserError: an argument is wrong, or a side cannot be called with these inputs.
    """
    if purpose not in PURPOSES:
        raise UserError(f"purpose '{purpose}': expected {' or '.join(PURPOSES)}")
    if unknown := [word for word in accept if word not in ACCEPTABLE]:
        raise UserError(f"accept '{unknown[0]}': known are {', '.join(ACCEPTABLE)}")
    if is_jax_model(torch_module):
        if accept or layout:
            raise UserError(
                "accept and layout are for a PyTorch module; two JAX models may be given inputs of their own"
            )
        options: Any = {"purpose": purpose, "mapping": mapping, "output_mask": output_mask, "name": name, "seed": seed}
        options["precision"] = precision
        return Port(*check_jax_port(torch_module, jax_model, inputs, jax_inputs, **options), jax_model)
    try:
        pair = align(torch_module, jax_model, inputs, jax_inputs, layout=layout, mapping=mapping, seed=seed)
        results = _results(pair, purpose, accept, output_mask, precision=precision)
        notes = _notes(pair, any(result.failure for result in results))
    except UserError:
        raise
    except Exception as error:  # a side that cannot be recorded or differentiated: one line, with the user's own
        raise UserError(f"the two sides cannot be compared: {explained(error)}") from error
    return Port(pair, Report(name or type(jax_model).__name__, tuple(results), notes=notes), jax_model)


def _results(
    pair: PortPair, purpose: str, accept: Collection[str], output_mask: Any, *, precision: bool
) -> list[Result]:
    results: list[Result] = [check_weights(pair)]
    if not results[0].failure:
        results += check_forward(pair, output_mask)
    if precision and not any(result.failure for result in results):  # in place of what holds at the usual weights
        results = [*results[:1], *(check_larger(pair, output_mask) or results[1:])]
    if precision and not any(result.failure for result in results):
        results += check_float32(pair, output_mask)
    if not any(result.failure for result in results):
        results.append(check_round_trip(pair))
        if purpose == "training":
            results += check_gradients(pair, accept)
            results += check_training_mode(pair, accept)
    return results


def assert_port(torch_module: Any, jax_model: Any, inputs: Any, jax_inputs: Any = None, **options: Any) -> None:
    """Raise an AssertionError whose message is the report, unless `check_port` proves the port."""
    report = check_port(torch_module, jax_model, inputs, jax_inputs, **options).report
    if not report.ok:
        raise AssertionError(f"{brief([report])}\n\n{as_text(report)}")


def prove(args: argparse.Namespace) -> Port:
    """Prove the pair that a command line names; see `parity.convert.port`."""
    torch_module, model = load.load_torch(args.name), load.load_jax(str(args.source))
    inputs, jax_inputs = inputs_of(args)
    options: Any = {"purpose": "inference", "precision": False, "layout": args.layout, "mapping": args.mapping}
    return check_port(torch_module, model, inputs, jax_inputs, **options)


def inputs_of(args: argparse.Namespace) -> tuple[Any, Any]:
    """Return PyTorch's inputs, and JAX's or None, that a command line describes.

    Raises:
        UserError: a description is wrong, or there is none.
    """
    if getattr(args, "inputs", None):
        if args.input:
            raise UserError("--input and --inputs: give one of them")
        return load.load_inputs(args.inputs)
    if not args.input:
        raise UserError("a pair needs inputs: --input 8,32,32,3, or --input int:3,12:50, or --inputs my.py:make")
    mine = drawn([parse_input(text) for text in args.input])
    other = getattr(args, "jax_input", None)
    return mine, drawn([parse_input(text, option="--jax-input") for text in other]) if other else None


def _notes(pair: PortPair, forward_fails: bool) -> tuple[str, ...]:
    """Return what a report says beside its checks."""
    notes = list(pair.notes)
    if pair.torch_float32:
        more = f" and {len(pair.torch_float32) - 3} more lines" if len(pair.torch_float32) > 3 else ""
        notes.append(f"PyTorch uses numbers of float32 at {', '.join(map(str, pair.torch_float32[:3]))}{more}")
    if pair.float32:
        more = f" and {len(pair.float32) - 3} more lines" if len(pair.float32) > 3 else ""
        notes.append(f"computes in float32 at {', '.join(str(line) for line in pair.float32[:3])}{more}")
    notes += [f"without a twin: {line}" for line in pair.weights.without_twin()]
    open_ = pair.unconfirmed if forward_fails else still_open(pair)
    notes += [
        f"{path} is taken by {why}{'' if why == IDLE else ': nothing confirms it'}" for path, why in open_.items()
    ]
    return tuple(notes)
