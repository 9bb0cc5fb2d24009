"""A user's own pair: python -m parity check my_torch:make my_flax:make --input 8,32,32,3."""

import argparse
import inspect
import json
import re
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flax import linen as nn
from flax import nnx
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import nn as torch_nn

from data import UserError
from data.registry import nearest
from experiment.own_network import find, parse_target
from experiment.runs.atomic import check_new, write_new
from experiment.weights.layout import by_path, layer_path, layouts
from jaxnets.environment import start_device
from parity.checks import layers as checks
from parity.checks.layer_match import NAME, Match, match
from parity.commands.compiled_cache import keep_compiled
from parity.compiler.check import prepare
from parity.mapping.file import dump, text_of
from parity.pairs import located
from parity.ports import Port, check_port, inputs_of
from parity.report import Report, print_report
from parity.sides import load
from parity.sides.flax_side import FlaxSide
from parity.sides.torch_module import uncompiled

PLAIN = re.compile(r"[\d,x]+")  # a shape alone


class NotPlain(Exception):
    """A pair is not for the checks of layers."""


def check_pair(console: Console, args: argparse.Namespace) -> Report:
    """Load both sides, print which weight is which and what the checks say of them.

    Args:
        console: where to.
        args: of the command line: names, input, mapping, save_mapping and the other options of a pair.

    Raises:
        UserError: an argument is wrong.
    """
    if args.save_mapping:
        check_new(args.save_mapping)
    keep_compiled()
    start_device()
    if (reference := load.load_jax_reference(args.names[0])) is not None:
        return _check_operations(console, args, reference)
    others = args.jax_input or args.inputs or args.layout or args.accept or args.purpose != "training"
    if not others and len(args.input) == 1 and PLAIN.fullmatch(args.input[0]):
        try:
            return _check_layers(console, args)
        except NotPlain:
            pass
    return _check_operations(console, args)


def _check_layers(console: Console, args: argparse.Namespace) -> Report:
    """Check a Linen or NNX module with one input layer by layer."""
    inputs = np.random.default_rng(0).normal(size=_shape(args.input[0]))
    torch_module = uncompiled(_made(args.names[0], (torch_nn.Module,), "a torch.nn.Module"))
    try:
        flax_module = _made(args.names[1], (nn.Module, nnx.Module), "a flax.linen.Module or a flax.nnx.Module")
        side = FlaxSide(flax_module, np.float64)
        given = _read_mapping(args.mapping, torch_module, side, inputs) if args.mapping else {}
        found = match(torch_module, side, inputs, given)
    except UserError:
        if args.mapping or isinstance(_loaded(args.names[1]), nn.Module | nnx.Module):
            raise
        raise NotPlain from None
    except Exception:  # more outputs, integer inputs, arrays that a layer shares: what the other check is for
        raise NotPlain from None
    prepare()
    name = f"{args.names[0]} {args.names[1]}"
    report = checks.check(torch_module, flax_module, inputs, name=name, mapping=found.keys)
    if report.failures:
        if report.failures[0].stage == "structure":
            raise NotPlain
        # What the weights are is found anew, by values: names and shapes may have told it wrong.
        report, port = located(report, torch_module, flax_module, inputs, name=name, mapping=given or None)
        if port is not None and report is port.report:
            return _shown(console, args, port)
    _print_match(console, found, torch_module)
    if args.save_mapping and found.keys:
        write_new(args.save_mapping, (json.dumps(found.keys, indent=2) + "\n").encode())
        console.print(f"the names found are saved in {args.save_mapping}, for --mapping", highlight=False)
    print_report(console, report)
    return report


def _check_operations(console: Console, args: argparse.Namespace, reference: Any = None) -> Report:
    """Check any pair operation by operation; the reference may be a JAX model, too."""
    kind = "PyTorch" if reference is None else "the first"
    torch_module = load.load_torch(args.names[0]) if reference is None else reference
    model = load.load_jax(args.names[1])
    if reference is not None and isinstance(model, torch_nn.Module):
        raise UserError(f"{args.names[1]} is a PyTorch module: give it first, the reference before its port")
    inputs, jax_inputs = inputs_of(args)
    options = {"purpose": args.purpose, "accept": args.accept, "layout": args.layout, "mapping": args.mapping}
    name = f"{args.names[0]} {args.names[1]}"
    return _shown(console, args, check_port(torch_module, model, inputs, jax_inputs, name=name, **options), kind)


def _shown(console: Console, args: argparse.Namespace, port: Port, kind: str = "PyTorch") -> Report:
    """Print the weights and the report, save the rules if they are asked for; return the report."""
    table = Table("JAX", "", f"made of {kind}'s", title="weights", title_justify="left")
    for path, rule in port.mapping.rules.items():
        table.add_row(path, str(port.mapping.leaves[path]), Text(text_of(rule)))
    console.print(table)
    if args.save_mapping:
        write_new(args.save_mapping, dump(port.mapping.rules).encode())
        console.print(f"the rules found are saved in {args.save_mapping}, for --mapping", highlight=False)
    print_report(console, port.report)
    return port.report


def _loaded(target: str) -> Any:
    try:
        return load.load_jax(target)
    except UserError:
        return None


def _shape(text: str) -> tuple[int, ...]:
    try:
        shape = tuple(int(part) for part in text.split(","))
    except ValueError:
        shape = ()
    if len(shape) < 2 or min(shape) < 1 or shape[0] < 2:
        raise UserError(f"--input {text}: give the shape, channels last, of at least two examples, such as 8,32,32,3")
    return shape


def _made(target: str, types: tuple[type, ...], wanted: str) -> Any:
    """Import what a target names, and call it unless it is a module already."""
    parsed = parse_target(target)
    value, _ = find(parsed)
    if not isinstance(value, types) and callable(value):
        try:
            torch.manual_seed(0)
            value = value(*parsed.arguments, **(_generators(value) | dict(parsed.keywords)))
        except Exception as error:
            called = "called" if parsed.arguments or parsed.keywords else "called without an argument"
            raise UserError(f"{target}: it cannot be {called}, {_where(error)}") from None
    if not isinstance(value, types):
        raise UserError(f"{target} is {type(value).__name__}, expected {wanted}, or a function that returns one")
    return value


def _generators(make: Any) -> dict[str, Any]:
    """An NNX module's class wants generators of random numbers."""
    signature = inspect.signature(make.__init__ if isinstance(make, type) else make)
    return {"rngs": nnx.Rngs(0)} if "rngs" in signature.parameters else {}


def _where(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__} at {frame.filename}:{frame.lineno}: {text}"


def _read_mapping(file: Path, torch_module: Any, side: FlaxSide, inputs: np.ndarray) -> Mapping[str, str]:
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{file}: no mapping can be read from it: {error}") from None
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise UserError(f"{file}: expected {{key of the state_dict: path of Flax's variable}}")
    keys = {key: path for path, key, _ in by_path(layouts(torch_module))}
    native = side.structure(inputs.shape[1:])
    faults = [f"PyTorch's module has no '{key}'.{nearest(key, keys)}" for key in given if key not in keys]
    faults += [f"the Flax module has no '{p}'.{nearest(p, native)}" for p in given.values() if p not in native]
    if len(set(given.values())) < len(given):
        faults.append("two keys have the same path")
    if faults:
        raise UserError(f"{file}: {'; '.join(faults)}")
    return given


def _print_match(console: Console, found: Match, torch_module: Any) -> None:
    """Print which layer is which, unless all have the same names."""
    others = [row for row in found.found if row.layer != row.native or row.why != NAME]
    if not others:
        console.print(f"{len(found.found)} layers, each with the same name on both sides", highlight=False)
        return
    types = {layer_path(name): type(layer).__name__ for name, layer in torch_module.named_modules()}
    table = Table("PyTorch", "", "Flax", "matched by", title="layers", title_justify="left")
    for layer, native, why in found.found:
        table.add_row(layer, types.get(layer, ""), native, why)
    console.print(table)
    if found.ambiguous:
        console.print(f"ambiguous: {found.ambiguous}", style="red", highlight=False, markup=False)
