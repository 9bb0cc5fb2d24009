"""Both sides of a port, recorded and aligned: what every check of it starts from."""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from data import UserError
from data.registry import nearest
from parity.align.found import CONFIRMED, FOLLOWS, GIVEN
from parity.align.idle import IDLE, idle_rules, used_keys
from parity.align.lockstep import Walk
from parity.align.search import Aligned, Search
from parity.align.symbols import whole
from parity.mapping import Mapping as Weights
from parity.mapping import file as mapping_file
from parity.mapping.assembled import assembled
from parity.mapping.candidates import rules
from parity.mapping.rule import Rule
from parity.sides.draw import Inputs
from parity.sides.frameworks import x64
from parity.sides.laws import Shared, laws, rates_differ
from parity.sides.numbers import to_numpy, tree_map
from parity.sides.outputs import named_leaves, paired
from parity.sides.pairing import Twin, twins
from parity.sides.random_draws import OTHER
from parity.sides.reference import Reference
from parity.trace.lines import Line

if TYPE_CHECKING:
    from parity.sides.jax_side import JaxSide

SEED = 0
UNMET = "it meets no data"
# In the second walk: a table that float32 rounds is 6e-8 off, and a product of some of its numbers a little more.
WIDE = 3e-7
Sources = dict[str, tuple[str, ...]]  # by leaf: the tensors that it is made of, by a rule that is to be found


class PortPair(NamedTuple):
    """A PyTorch module and a JAX model with the same weights, and what both compute."""

    torch: Reference
    jax: "JaxSide"
    torch_inputs: Inputs
    jax_inputs: Inputs
    outputs: Mapping[str, Any]  # PyTorch's, as tensors of the recorded pass, or as arrays of a record
    aligned: Aligned
    weights: Weights
    leaves: dict[str, np.ndarray]  # JAX's, as PyTorch's weights make them
    unconfirmed: dict[str, str]  # leaves whose origin nothing confirms, and by what they were taken
    float32: tuple[Line, ...]  # where the JAX side computes in float32
    notes: tuple[str, ...]
    shared: tuple[Twin, ...] = ()  # the outputs that both sides have
    torch_float32: tuple[Line, ...] = ()  # where PyTorch uses numbers of float32, and the JAX side does not

    @property
    def narrow(self) -> bool:
        """Whether the two can only agree as far as float32 does."""
        return bool(self.float32 or self.torch_float32)


def align(
    torch_module: Any,
    model: Any,
    inputs: Any,
    jax_inputs: Any = None,
    *,
    layout: str | None = None,
    mapping: Mapping[str, Rule] | Mapping[str, str] | Path | None = None,
    seed: int = SEED,
) -> PortPair:
    """Record both sides on the same inputs and weights, and find which value is which.

    Args:
        torch_module: the reference.
        model: what `parity.sides.jax_side` takes.
        inputs: an array, a tuple, or a dict by name.
        jax_inputs: the same, where the JAX side is given something else.
        layout: see `parity.sides.inputs.LAYOUTS`; None: found.
        mapping: rules of leaves by path; keys of the state_dict to paths of leaves; or a file of either.
        seed: of the weights.

    Raises:
        UserError: a side cannot be called so.
    """
    from parity.sides.inputs import both_sides  # here: PyTorch may be missing where a record is compared

    inputs, jax_inputs = (None if i is None else widened(i) for i in (inputs, jax_inputs))
    module, side, ours, theirs, words = both_sides(torch_module, model, inputs, jax_inputs, layout)
    module.randomise(seed, *ours)
    words = "; ".join(filter(None, (words, _shared_noise(module, side, ours))))
    return aligned(module, side, ours, theirs, words, mapping)


def _shared_noise(module: Any, side: Any, inputs: Inputs) -> str:
    """Give both sides the same numbers if they draw any in evaluation mode, too; return what is said of it."""
    theirs = getattr(side, "noise", ())
    ours = module.draws(inputs) if theirs and hasattr(module, "draws") else ()
    if not ours or [mine.size for mine in ours] != [other.size for other in theirs]:
        return ""  # the walk says where the two part
    pairs = [(mine, other) for mine, other in zip(ours, theirs, strict=True)]
    if any(mine.kind == OTHER or rates_differ(mine, other) for mine, other in pairs):
        return ""
    shared = [Shared(*pair, tuple(laws(*pair, np.random.default_rng([21, i])))) for i, pair in enumerate(pairs)]
    module.numbers, side.numbers = zip(*(both.given(0, 0) for both in shared), strict=True)
    return "both sides draw random numbers in evaluation mode, too: they are given the same"


def aligned(
    module: Reference, side: "JaxSide", ours: Inputs, theirs: Inputs, words: str = "", mapping: Any = None
) -> PortPair:
    """Find which value of both sides is which.

    Args:
        module: the reference, with its weights.
        side: JAX's.
        ours: PyTorch's inputs.
        theirs: JAX's.
        words: what is said of their layout.
        mapping: as for `align`.
    """
    known, sources = _known(mapping, module, side)
    trace, outputs, numbers = module.recorded(ours)
    stand_ins = {name: np.zeros(array.shape) for name, array in named_leaves(side.output).items()}
    pairs = twins({name: to_numpy(array) for name, array in outputs.items()}, stand_ins)
    targets = [numbers[twin.name] for twin in pairs if twin.name in numbers]
    with x64():
        closed, arrays = _traced(side, theirs)
        search = Search(trace, closed, arrays, side.leaves, side.trained, module.parameters, targets, known, sources)
        found = search.run()
        narrow = tuple(dict.fromkeys(c.line for c in found.walk.cells if c.narrow and c.line is not None))
        coarse = _coarse(found.walk)
    weights, unconfirmed = _weights(module, side, found, sources)
    leaves = {path: array if (v := _value(found, path, array)) is None else v for path, array in side.leaves.items()}
    unmet = [path for path, why in unconfirmed.items() if why in (IDLE, GIVEN)]
    leaves |= {path: np.asarray(weights.rules[path](module.parameters)) for path in unmet}
    alone = [note for note in paired(outputs, stand_ins)[1] if note.startswith(("only ", "not compared"))]
    notes = tuple(n for n in (words, *module.notes, *side.notes, *alone) if n)
    shared = tuple(twin for twin in pairs if twin.way is not None)
    sides = module, side, ours, theirs, outputs
    return PortPair(*sides, found, weights, leaves, unconfirmed, narrow, notes, shared, coarse)


def in_float64(pair: PortPair) -> Aligned | None:
    """Return what is found if all of the JAX side is computed in float64; None of a record, whose program is fixed.

    Where a port computes in float32, a step is the same if it agrees to float32's rounding, so that an epsilon of 1e-4
    in place of 1e-6 is not seen where the variance is large, although the outputs are further apart than rounding
    explains. In float64 it is. If then nothing differs, the precision itself is the cause.
    """
    if hasattr(pair.jax, "program"):
        return None
    walk, leaves = pair.aligned.walk, {path: widened(array) for path, array in pair.leaves.items()}
    with x64():
        widened_program = importlib.import_module("parity.trace.widened").widened_program  # here: JAX may be missing
        closed, arrays = _traced(pair.jax, pair.jax_inputs)
        state, rules = pair.torch.parameters, pair.weights.rules
        given = walk.trace, widened_program(closed), arrays, leaves, pair.jax.trained, state
        return Search(*given, pair.aligned.targets, rules, seconds=20, near=WIDE).run()


def _coarse(walk: Walk) -> tuple[Line, ...]:
    """Return PyTorch's lines whose results have float32's precision where JAX's have more: a table, in a buffer."""
    makers = (walk.trace.values[cell.same[0]].maker for cell in walk.cells if cell.coarse and cell.same)
    lines = (walk.trace.ops[maker].line for maker in makers if maker is not None)
    return tuple(dict.fromkeys(line for line in lines if line is not None))


def widened(inputs: Any) -> Any:
    """Return inputs with their floats in float64."""

    def wide(array: Any) -> Any:
        return array.astype(np.float64) if isinstance(array, np.ndarray) and array.dtype.kind == "f" else array

    if isinstance(inputs, Mapping):  # in the order given: `jax.tree.map` would sort the names
        return {name: wide(array) for name, array in inputs.items()}
    return type(inputs)(*map(wide, inputs)) if hasattr(inputs, "_fields") else tree_map(wide, inputs)


def _known(mapping: Any, module: Reference, side: "JaxSide") -> tuple[dict[str, Rule], Sources]:
    """Return the rules that a mapping gives, and the tensors that it names alone."""
    shapes = {key: array.shape for key, array in module.parameters.items()}
    leaves = {path: array.shape for path, array in side.leaves.items()}
    if isinstance(mapping, Path):
        given = mapping_file.read(mapping, shapes, leaves)
        return dict(given.rules), {path: (key,) for path, key in given.keys.items()}
    given_rules = {path: rule for path, rule in (mapping or {}).items() if not isinstance(rule, str)}
    sources: Sources = {}
    for key, path in (mapping or {}).items():
        if not isinstance(path, str):
            continue
        if key not in shapes:
            raise UserError(f"the mapping: PyTorch's module has no '{key}'.{nearest(key, shapes)}")
        if path not in leaves:
            raise UserError(f"the mapping: the JAX model has no '{path}'.{nearest(path, leaves)}")
        sources[path] = (*sources.get(path, ()), key)
    for path, keys in sources.items():
        if next(rules({key: shapes[key] for key in keys}, leaves[path]), None) is None:
            found = " and ".join(f"{key} {shapes[key]}" for key in keys)
            raise UserError(f"the mapping takes {found} for {path} {leaves[path]}, which cannot be made of it")
    return given_rules, sources


def _traced(side: "JaxSide", inputs: Inputs) -> tuple[Any, list[Any]]:
    """Return the jaxpr of the JAX side's pass in evaluation mode, and its inputs in the jaxpr's order."""
    found: Any = side
    if hasattr(found, "program"):  # a record's
        return found.program(inputs)
    return importlib.import_module("parity.trace.jax_trace").traced_pass(side, inputs)[:2]  # here: JAX may be missing


def _weights(
    module: Reference, side: "JaxSide", aligned: Aligned, sources: Sources | None = None
) -> tuple[Weights, dict[str, str]]:
    """Return the mapping of weights that was found, and what of it nothing confirms."""
    known, made, unconfirmed = aligned.walk.bindings, dict[str, Rule](), dict[str, str]()
    kept: dict[str, np.ndarray] = {}
    parameters = module.parameters  # copies of all
    for path, array in side.leaves.items():
        found = {piece.region: f for piece, f in known.found.items() if piece.path == path}
        sure = all(f.why in (*CONFIRMED, FOLLOWS) for f in found.values())
        rule = None
        if found and all(f.rule is not None for f in found.values()):
            rule = assembled({region: f.rule for region, f in found.items() if f.rule is not None})
        if rule is not None and _gives(rule, parameters, _value(aligned, path, array)):
            made[path] = rule
        elif not found and path in (sources or {}):  # it meets no data, and the mapping has told whence it is
            tensors = {key: parameters[key].shape for key in (sources or {})[path]}
            made[path], unconfirmed[path] = next(rules(tensors, array.shape)), GIVEN
            continue
        else:
            kept[path] = array
        if not sure or (not found and path in side.trained):
            unconfirmed[path] = next((f.why for f in found.values() if f.why not in CONFIRMED), UNMET)
    shapes = {key: array.shape for key, array in parameters.items() if key in module.saved}
    idle = {
        path: side.leaves[path].shape for path, why in unconfirmed.items() if why == UNMET and path in side.trained
    }
    unused = shapes.keys() - used_keys(aligned.walk.trace)
    for path, rule in idle_rules(idle, {key: shapes[key] for key in shapes if key in unused}, made).items():
        made[path], unconfirmed[path] = rule, IDLE
        del kept[path]
    used = {key for rule in made.values() for key in rule.sources}
    alone = {key: parameters[key] for key in shapes if key not in used}
    leaves = {path: array.shape for path, array in side.leaves.items()}
    tied = {key: other for key, other in module.tied.items() if key in module.saved or other in module.saved}
    return Weights(made, shapes, leaves, kept, alone, tied), unconfirmed


def _value(aligned: Aligned, path: str, array: np.ndarray) -> np.ndarray | None:
    """Return the numbers that a leaf was found to have."""
    piece = whole(path, array.shape)
    found = aligned.walk.bindings.values([piece])
    return None if found is None else found[piece]


def _gives(rule: Rule, state: Mapping[str, np.ndarray], value: np.ndarray | None) -> bool:
    return value is not None and np.array_equal(np.asarray(rule(state), np.float64), np.asarray(value, np.float64))
