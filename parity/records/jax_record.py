"""Recording a JAX model: its programs, as data. PyTorch is not needed.

The weights of a PyTorch module are not known when the JAX side is recorded. What is kept is therefore not what one
set of weights gives, but the equations that give it: `parity.records.jax_side` computes them again, by numpy, with
PyTorch's. One set of values is kept, too, by which the computation is checked.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from data.errors import UserError
from parity.checks.jax_training import JaxTrainingMode
from parity.records import file
from parity.records.encode import Arrays, line_header, named_header, tree_header
from parity.records.programs import Writer
from parity.records.steps import draws_header
from parity.records.training_mode import no_pass, without_training
from parity.records.versions import versions
from parity.records.written import LIMIT, Written
from parity.sides.arrays import x64
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
    fitted,
    forced,
    moved,
    normalised,
)
from parity.sides.jax_inputs import jax_parameters
from parity.sides.jax_passes import gradients
from parity.sides.jax_side import JaxSide, jax_side
from parity.sides.numbers import is_float, to_numpy, tree_map
from parity.sides.outputs import named_leaves
from parity.trace.jax_trace import plain_convolutions, traced
from parity.training.supply import Drawn


def record_jax(
    model: Any, inputs: Any, path: Path | str, *, layout: str | None = None, name: str = "", seed: int = 0
) -> Written:
    """Record what a JAX model computes, for a machine that has PyTorch alone; arguments as for `record`.

    Raises:
        UserError: the model cannot be called so, or the file cannot be written.
    """
    path = Path(path)
    file.check_new(path)
    given = normalised(tree_map(_wide, inputs))
    side, theirs, ways, notes = _laid_out(model, given, layout)
    header = {"side": "jax", "name": name or type(model).__name__, "seed": seed, "layouts": ways, "kind": side.kind}
    header |= {"versions": versions("jax"), "notes": [*side.notes, *notes], "concrete": side.concrete}
    kept = Arrays(LIMIT)
    try:
        with x64():
            header |= _recorded(side, given, theirs, kept, seed)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"the JAX side cannot be recorded: {explained(error)}") from error
    warning = without_training("JAX", header["training"])
    header["notes"] = [*header["notes"], *filter(None, (warning,))]
    file.write(path, header, kept.all())
    equations = len(header["programs"]["forward"]["jaxpr"]["eqns"])
    return Written(path, file.size(path), equations, len(kept.named), 0, "; ".join(notes), warning)


def _laid_out(model: Any, given: Inputs, layout: str | None) -> tuple[JaxSide, Inputs, dict[str, str], list[str]]:
    """Return the side, its inputs in the first layout that it takes, and how each is moved."""
    names, errors, every = jax_parameters(model), list[str](), arrays(given)
    pictures = [name for name, array in every.items() if array.ndim in (3, 4, 5) and is_float(array)]
    for way in (SAME, FIRST, BOTH):
        chosen = {name: forced(layout, name) or way for name in pictures}
        turned = moved(moved(given, chosen, (FIRST,), channels_last), chosen, (BOTH,), channels_first)
        theirs, notes = fitted(turned, names, "JAX")
        try:
            return jax_side(model, *theirs), theirs, {name: _way(chosen.get(name, SAME)) for name in every}, notes
        except UserError as error:
            errors.append(str(error))
    raise UserError(errors[0])


def _way(layout: str) -> str:
    """Return how JAX is given an input: as it is where PyTorch's alone is moved."""
    return SAME if layout == LAST else layout


def _recorded(side: JaxSide, given: Inputs, theirs: Inputs, kept: Arrays, seed: int) -> dict[str, Any]:
    writer, rng = Writer(kept), np.random.default_rng([seed, 26])
    leaves = {path: _moved(array, rng) if path in side.trained else array for path, array in side.leaves.items()}
    ready = {path: jnp.asarray(array) for path, array in leaves.items()}
    inputs: Any = jax.tree.map(jnp.asarray, (theirs.args, dict(theirs.kwargs)))
    outputs = named_leaves(side.call(ready, *theirs, train=False)[0])
    cotangents = {n: rng.normal(size=a.shape) for n, a in outputs.items() if is_float(a)}
    found = gradients(side, ready, theirs, cotangents)

    def inside(given: Any) -> Inputs:  # inputs whose values are looked at in Python are constants
        return theirs if side.concrete else Inputs(given[0], given[1])

    def forward(own: Any, given: Any) -> Any:
        return dict(named_leaves(side.call(own, *inside(given), train=False)[0]))

    def backward(own: Any, given: Any, weights: Any) -> Any:
        return gradients(side, own, inside(given), weights)

    def step(own: Any, given: Any) -> Any:
        after = side.call(own, *inside(given), train=True)[1]
        return {path: after[path] for path in changed}

    weights = {name: jnp.asarray(array) for name, array in cotangents.items()}
    with plain_convolutions():  # its operations are compared; the other programs are what is trained
        program = traced(forward, ready, inputs)[0]
    programs = {
        "forward": writer.closed(program),
        "gradients": writer.closed(traced(backward, ready, inputs, weights)[0]),
    }
    changed = _after_step(side, ready, theirs)
    if changed:
        programs["step"] = writer.closed(traced(step, ready, inputs)[0])
    training = _training_mode(side, ready, theirs, writer, programs)
    arrays = {
        "leaves": leaves,
        "outputs": {name: to_numpy(array) for name, array in outputs.items()},
        "cotangents": cotangents,
        "gradients": {path: to_numpy(array) for path, array in found.items()},
        "after": changed,
    }
    header = {name: named_header(named, kept.add, name) for name, named in arrays.items()}
    header |= {
        name: {"args": tree_header(i.args, kept.add, name), "kwargs": tree_header(dict(i.kwargs), kept.add, name)}
        for name, i in (("given", given), ("inputs", theirs))
    }
    lines = [line_header(line) for line in writer.lines]
    more = {"trained": sorted(side.trained), "programs": programs, "lines": lines, "training": training}
    return {**header, **more}


def _training_mode(
    side: JaxSide, leaves: Mapping[str, Any], theirs: Inputs, writer: Writer, programs: dict[str, Any]
) -> dict[str, Any]:
    """Return what a pass in training mode draws and computes; the passes are added to the programs."""
    mode = JaxTrainingMode(side, leaves, theirs)
    header: dict[str, Any] = {"switched": mode.switched}
    header |= {key: [] for key in ("outputs", "weights", "changed", "gradients")}
    try:
        draws = mode.draws()
        numbers = [jnp.zeros(draw.shape) for draw in draws]
        outputs, changed = mode.shape

        def run(own: Any, given: Any, drawn: Any) -> Any:
            return mode.computed(own, given, drawn)

        def back(own: Any, given: Any, drawn: Any, weights: Any) -> Any:
            return mode.differentiated(own, given, drawn, weights)

        weights = {name: jnp.zeros(array.shape) for name, array in outputs.items() if is_float(array)}
        given = jax.tree.map(jnp.asarray, mode.given)
        programs["train"] = writer.closed(traced(run, leaves, given, numbers)[0])
        closed, found = traced(back, leaves, given, numbers, weights)
        programs["train gradients"] = writer.closed(closed)
    except Exception as error:  # a model may have no training mode, or draw in a loop
        return header | no_pass(error, mode.crash())
    zeros = [Drawn(draw, np.zeros(draw.shape)) for draw in draws]
    return header | {
        "draws": draws_header(zeros, writer.arrays.add, "draws"),
        "outputs": sorted(outputs),
        "weights": sorted(weights),
        "changed": sorted(changed),
        "gradients": sorted(found),
    }


def _after_step(side: JaxSide, leaves: Mapping[str, Any], theirs: Inputs) -> dict[str, np.ndarray]:
    """Return the leaves that a training step changes; none where it raises, of which `_training_mode` says why."""
    try:
        return {path: to_numpy(array) for path, array in side.call(leaves, *theirs, train=True)[1].items()}
    except Exception:
        return {}


def _moved(array: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return random numbers near a leaf's, in float32: what starts as zeros or ones tells nothing."""
    if array.dtype.kind != "f":
        return array
    return (
        (array * rng.uniform(0.7, 1.3, array.shape) + rng.normal(0, 0.05, array.shape))
        .astype(np.float32)
        .astype(np.float64)
    )


def _wide(array: Any) -> Any:
    return array.astype(np.float64) if isinstance(array, np.ndarray) and is_float(array) else array
