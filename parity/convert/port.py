"""Carrying weights across a proved port: python -m parity convert my_torch.py:Net my_flax.py:Net --input ... OUT."""

import argparse
import importlib
import io
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import orbax.checkpoint
import torch
from flax import serialization

from data import UserError
from experiment.runs.atomic import check_new, write_new
from experiment.weights.conversion import is_flax, unflatten
from experiment.weights.files import SAFETENSORS, TORCH, read_noted
from experiment.weights.layout import CopyError
from experiment.weights.safetensors_file import pack
from parity import mapping as room
from parity.mapping.emit import check_name, emit

MSGPACK, ORBAX, SOURCE = ".msgpack", ("", ".orbax"), ".py"


class Found(Protocol):
    """What `parity.match` returns, as far as it is needed here."""

    mapping: room.Mapping
    ok: bool  # both modules are proved to be the same
    verdict: str  # one line
    names: Mapping[str, str]  # of leaves in files, where they are not the leaves' paths; see `native_names`


def convert_port(args: argparse.Namespace) -> str:
    """Prove a pair, then write its weights and its function; return a line that says what was done.

    Raises:
        UserError: an argument is wrong, the proof fails, or the weights are not the module's. Nothing is written
            then.
    """
    target = args.target
    if ":" not in str(args.source):
        raise UserError(
            f"{args.source}: give the JAX model, too: convert {args.name} my_flax.py:Net --input SHAPE TARGET"
        )
    _check_targets(target, args.emit, args.weights)
    weights, note = read_noted(args.weights) if args.weights else ({}, "")
    found = proved(args)
    if not found.ok:
        raise UserError(f"nothing is written: {found.verdict}")
    name, mapping = f"{args.name} {args.source}", found.mapping.renamed(found.names)
    files: dict[Path, bytes | dict[str, np.ndarray]] = {}
    said = []
    if args.weights:
        files[target], way = _converted(mapping, weights, target, args.weights)
        said.append(way + (f"; {note}" if note else ""))
    function: Path | None = target if target.suffix == SOURCE else args.emit
    if function is not None:
        files[function] = emit(mapping, function.stem, name).encode()
        said.append(f"{function.stem}() in {function}")
    for path, content in files.items():
        write_new(path, content) if isinstance(content, bytes) else _write_orbax(path, content)
    notes = [f"without a twin: {line}" for line in mapping.without_twin()]
    notes += [note for note in getattr(getattr(found, "report", None), "notes", ()) if " is taken by " in note]
    return f"{name}: {'; '.join([found.verdict, *said])}" + "".join(f"\n  {note}" for note in notes)


def proved(args: argparse.Namespace) -> Found:
    """Return what the proof of the pair says."""
    return importlib.import_module("parity.ports").prove(args)


def _check_targets(target: Path, function: Path | None, weights: Path | None) -> None:
    check_new(target)
    if target.suffix == SOURCE and (weights or function):
        raise UserError(f"{target}: --weights makes a file of weights, and --emit names the function's file")
    if target.suffix != SOURCE and not weights:
        raise UserError(f"{target} needs --weights FILE; without weights, OUT is the function's file, ending in .py")
    if target.suffix not in (SAFETENSORS, MSGPACK, *ORBAX, *TORCH, SOURCE):
        known = f"{SAFETENSORS}, {MSGPACK}, .orbax or none for a folder; {', '.join(TORCH)} for PyTorch's"
        raise UserError(f"{target}: ends in '{target.suffix}', expected {known}")
    if (own := target if target.suffix == SOURCE else function) is not None:
        check_name(own.stem)
    if function is not None:
        check_new(function)
        if function.suffix != SOURCE or function == target:
            raise UserError(f"--emit {function}: expected a file of its own that ends in {SOURCE}")


def _converted(
    mapping: room.Mapping, weights: Mapping[str, np.ndarray], target: Path, source: Path
) -> tuple[bytes | dict[str, np.ndarray], str]:
    """Return what to write for the other side's weights, and what was done."""
    back = is_flax(weights)
    if back and target.suffix not in (SAFETENSORS, *TORCH):
        raise UserError(f"{target}: {source} is JAX's, so this becomes PyTorch's: {SAFETENSORS} or {', '.join(TORCH)}")
    if not back and target.suffix in TORCH:
        raise UserError(
            f"{target}: {source} is PyTorch's, so this becomes JAX's: {SAFETENSORS}, {MSGPACK} or a folder"
        )
    try:
        if back:
            result, way = mapping.to_torch(_own_names(weights, mapping)), f"JAX {source} -> PyTorch {target}"
        else:
            result = mapping.to_flax(_unwrapped(weights, mapping), flat=True)
            way = f"PyTorch {source} -> JAX {target}"
    except CopyError as error:
        raise UserError(f"{source}: {error}") from None
    numbers = sum(array.size for array in result.values())
    said = f"{len(result)} arrays, {numbers:,} numbers: {way}"
    if target.suffix in TORCH:
        return _pack_torch(result), said
    if target.suffix == SAFETENSORS:
        return pack(result), said
    if target.suffix == MSGPACK:
        return serialization.msgpack_serialize(unflatten(result)), said
    return result, said


def _unwrapped(weights: Mapping[str, np.ndarray], mapping: room.Mapping) -> Mapping[str, np.ndarray]:
    """Return weights without what a wrapper has put in front of all their names, "module."."""
    wanted = {key for rule in mapping.rules.values() for key in rule.sources}
    first = next(iter(wanted), "")
    for prefix in sorted(key.removesuffix(first) for key in weights if key.endswith(f".{first}")):
        if first not in weights and all(prefix + key in weights for key in wanted):
            return {key.removeprefix(prefix): array for key, array in weights.items()}
    return weights


def _own_names(weights: Mapping[str, np.ndarray], mapping: room.Mapping) -> dict[str, np.ndarray]:
    """Return weights without the collection that reading has put in front of names, and without the model's tables."""
    bare = {name if name in mapping.leaves else name.partition("/")[2]: array for name, array in weights.items()}
    return bare if bare.keys() <= mapping.leaves.keys() else dict(weights)


def _pack_torch(state: Mapping[str, np.ndarray]) -> bytes:
    buffer = io.BytesIO()
    torch.save({key: _tensor(array) for key, array in state.items()}, buffer)
    return buffer.getvalue()


def _tensor(array: np.ndarray) -> torch.Tensor:
    array = np.array(array, order="C")
    if array.dtype.kind != "V":
        return torch.from_numpy(array)
    bits = torch.from_numpy(array.view(np.uint8 if array.dtype.itemsize == 1 else np.int16))
    return bits.view(getattr(torch, array.dtype.name))


def _write_orbax(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write a folder that Orbax reads; it gets its name once it is complete."""
    place = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.absolute().parent))
    try:
        with orbax.checkpoint.StandardCheckpointer() as checkpointer:
            checkpointer.save(place / "weights", unflatten(arrays))
            checkpointer.wait_until_finished()
        check_new(path)
        (place / "weights").rename(path)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        shutil.rmtree(place, ignore_errors=True)
