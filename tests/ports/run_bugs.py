"""Search the pairs of this folder and their planted bugs, and tell what was found against what is true.

`python -m tests.ports.run_bugs [TEXT ...]` runs the bugs whose names hold a text, all without one; `--right` runs the
right pairs instead, `--seeds N` with so many seeds each, `--public FOLDER` the pairs of another folder that has a
`pairs.json`.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import torch

from jaxnets.compiler_guard import guard
from parity.align.found import CONFIRMED, FOLLOWS
from parity.align.lockstep import Cell
from parity.align.search import Aligned, Search
from parity.sides.arrays import to_numpy, wide, x64
from parity.sides.inputs import both_sides
from parity.sides.jax_side import JaxSide
from parity.sides.outputs import named_leaves
from parity.sides.torch_module import TorchModule
from parity.trace.jax_trace import traced
from parity.trace.torch_trace import record
from parity.trace.values import Op, Trace
from tests.ports import NAMES, load, pair
from tests.ports.bugs import BUGS, Bug


class Searched(NamedTuple):
    """One pair, searched."""

    module: TorchModule
    side: JaxSide
    trace: Trace
    aligned: Aligned
    walks: int
    seconds: dict[str, float]

    @property
    def alike(self) -> bool:
        """Whether all outputs agree."""
        return bool(self.aligned.results) and all(cell.alike for cell in self.aligned.results)

    def places(self) -> list[tuple[Op, Cell | None]]:
        """Return PyTorch's operation and JAX's of each difference."""
        return [
            (self.trace.ops[d.op], walk.cells[d.cell] if d.cell is not None else None)
            for walk, d in self.aligned.differences
        ]

    def value(self, path: str) -> np.ndarray | None:
        """Return the numbers that a leaf was found to have."""
        known = self.aligned.walk.bindings
        pieces = known.symbol(path).pieces
        values = known.values(pieces)
        return None if values is None else values[pieces[0]]


def searched(module: Any, model: Any, inputs: Any, jax_inputs: Any = None, seed: int = 0) -> Searched:
    """Record both sides of a pair and search them."""
    times = [time.perf_counter()]
    ours_side, side, ours, theirs, _ = both_sides(module, model, inputs, jax_inputs)
    ours_side.randomise(seed, *ours)
    args, kwargs = ours_side.tensors_of(ours.args), ours_side.tensors_of(dict(ours.kwargs))
    given = [t for t in jax.tree.leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    given = [t.requires_grad_() if t.is_floating_point() else t for t in given]
    times.append(time.perf_counter())
    with ours_side.defaults(), ours_side.kept():
        run = lambda: ours_side.call(args, kwargs, train=False)  # noqa: E731
        output, recorder = record(ours_side.module, run, given, ours_side.tensors)
    outputs, sizes = named_leaves(output), [np.prod(a.shape) for a in named_leaves(side.output).values()]
    targets = recorder.numbers_of([t for t in outputs.values() if isinstance(t, torch.Tensor) and t.numel() in sizes])
    times.append(time.perf_counter())
    with x64():
        closed, arrays = _traced(side, theirs)
        times.append(time.perf_counter())
        search = Search(recorder.trace, closed, arrays, side.leaves, side.trained, ours_side.parameters, targets)
        aligned = search.run()
    times.append(time.perf_counter())
    steps: dict[str, float] = dict(zip(("sides", "torch", "trace", "search"), np.diff(times).tolist(), strict=True))
    return Searched(ours_side, side, recorder.trace, aligned, search.walks, steps)


def _traced(side: JaxSide, inputs: Any) -> tuple[Any, list[Any]]:
    leaves = {path: jnp.asarray(array) for path, array in side.leaves.items()}
    if side.concrete:
        return traced(lambda leaves: side.call(leaves, *inputs, train=False)[0], leaves)[0], []
    given = jax.tree.map(jnp.asarray, (inputs.args, dict(inputs.kwargs)))
    return traced(lambda leaves, given: side.call(leaves, *given, train=False)[0], leaves, given)[0], jax.tree.leaves(
        given
    )


def searched_files(files: tuple[ModuleType, ModuleType], seed: int = 0) -> Searched:
    """Search a pair of this folder."""
    torch_file, jax_file = files
    inputs = jax.tree.map(wide, torch_file.inputs())
    other = jax.tree.map(wide, torch_file.jax_inputs()) if hasattr(torch_file, "jax_inputs") else None
    model = jax_file.make()
    return searched(
        torch_file.make(), jax.vmap(model) if getattr(jax_file, "ONE_EXAMPLE", False) else model, inputs, other, seed
    )


def wrong_leaves(found: Searched, jax_file: ModuleType) -> list[str]:
    """Return the leaves that are not as the true conversion makes them, with what they are taken for."""
    state = {name: to_numpy(t) for name, t in found.module.module.state_dict().items()}
    true, known, wrong = jax_file.weights(state), found.aligned.walk.bindings, []
    for path, array in true.items():
        where = next((p for p in found.side.leaves if _plain(p).endswith(_plain(path))), None)
        value = None if where is None else found.value(where)
        if value is None or value.shape != np.shape(array) or not np.allclose(value, array, atol=1e-6):
            why = [(f.why, f.rule) for p, f in known.found.items() if p.path == where]
            wrong.append(f"{path}: {why or 'not met' if where else 'no such leaf'}")
    return wrong


def _plain(path: str) -> str:
    return "/" + path.replace("/", "_").removeprefix("params_")


def report(name: str, found: Searched, wrong: list[str]) -> bool:
    """Print what was found of a right pair; tell whether it is proved."""
    known = found.aligned.walk.bindings
    unsure = [f"{p.path}: {f.why} {f.rule}" for p, f in known.found.items() if f.why not in (*CONFIRMED, FOLLOWS)]
    fine = found.alike and not found.aligned.differences and not wrong
    print(
        f"{name:10} {'proved' if fine else 'FAILED'} {found.walks} walks",
        {k: round(float(s), 1) for k, s in found.seconds.items()},
        flush=True,
    )
    for words, items in (("wrong", wrong), ("unconfirmed", unsure), ("differs", [_said(*p) for p in found.places()])):
        for item in items:
            print(f"    {words} {item}", flush=True)
    return fine


def _said(op: Op, cell: Cell | None) -> str:
    return f"{op.name} {op.line} | {cell and cell.name} {cell and cell.line}"


def hits(bug: Bug, found: Searched) -> tuple[bool, bool, bool]:
    """Tell whether a bug was caught, and whether PyTorch's line and JAX's of the first difference are right."""
    places = found.places()
    caught = bool(places) or not found.alike
    op, cell = places[0] if places else (None, None)
    ours = bool(op and op.line and any(text in op.line.text for text in map(str.strip, bug.torch_lines)))
    theirs = bool(cell and cell.line and any(text in cell.line.text for text in map(str.strip, bug.jax_lines)))
    return caught, ours, theirs


def run_bug(bug: Bug) -> tuple[bool, bool, bool]:
    """Search a pair with a bug, print what was found, return as `hits` does."""
    with tempfile.TemporaryDirectory() as folder:
        bug.write(Path(folder))
        begun = time.perf_counter()
        try:
            found = searched_files(pair(bug.pair, Path(folder)))
        except Exception as error:
            print(f"{bug.name}: {type(error).__name__}: {str(error)[:300]}", flush=True)
            return False, False, False
        marks = hits(bug, found)
        words = "OK  " if all(marks) else "BAD "
        note = " (a permutation)" if bug.permuted else ""
        spent = f"{time.perf_counter() - begun:.1f}s, search {found.seconds['search']:.1f}s"
        print(f"{words}{bug.name}{note} {marks} {spent} {found.walks} walks", flush=True)
        if not all(marks):
            print(f"    expected {bug.torch_lines} | {bug.jax_lines}")
        if not all(marks) or len(found.places()) > 1:
            for op, cell in found.places():
                print("   ", _said(op, cell), flush=True)
    return marks


def run_public(folder: Path, names: list[str]) -> None:
    """Search the public pairs."""
    for name, entry in json.loads((folder / "pairs.json").read_text()).items():
        if names and name not in names:
            continue
        mine, theirs = ({}, {})
        for spec in entry["inputs"]:
            array = _drawn(spec)
            mine[spec["name"]] = array
            theirs[spec.get("jax_name", spec["name"])] = (
                np.moveaxis(array, 1, -1) if spec.get("jax") == "nhwc" else array
            )
        torch_file, jax_file = load(folder / f"{name}_torch.py"), load(folder / f"{name}_jax.py")
        found = searched(
            torch_file.make(),
            jax_file.make(),
            mine,
            theirs if list(theirs) != list(mine) or "nhwc" in str(entry) else None,
        )
        report(name, found, [])


def _drawn(spec: dict[str, Any]) -> np.ndarray:
    rng, shape = np.random.default_rng(len(spec["name"])), tuple(spec["shape"])
    if spec.get("arange"):
        return np.broadcast_to(np.arange(shape[-1]), shape).copy()
    if "lengths" in spec:
        return (np.arange(shape[-1]) < np.array(spec["lengths"])[:, None]).astype(np.int64)
    if spec["dtype"] == "int":
        return rng.integers(spec["low"], spec["high"], shape)
    return rng.normal(size=shape)


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--right", action="store_true")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--public", type=Path)
    args = parser.parse_args()
    guard()
    if args.public:
        run_public(args.public, args.names)
        return
    if args.right:
        for name in args.names or NAMES:
            for seed in range(args.seeds):
                try:
                    files = pair(name)
                    found = searched_files(files, seed)
                    report(name, found, wrong_leaves(found, files[1]))
                except Exception as error:
                    print(f"{name} {type(error).__name__}: {str(error)[:300]}", flush=True)
        return
    chosen = [bug for bug in BUGS if not args.names or any(text in bug.name for text in args.names)]
    marks = [run_bug(bug) for bug in chosen if not bug.backward]
    totals = [sum(column) for column in zip(*marks, strict=True)]
    lines = f"torch's line {totals[1]}, JAX's line {totals[2]}, both {sum(all(m) for m in marks)}"
    print(f"{len(marks)} bugs: caught {totals[0]}, {lines}")


if __name__ == "__main__":
    main()
