"""How far both sides of a registered network are from each other, layer by layer, forward and back, as data."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np

from data.registry import lookup
from jaxnets.environment import start_device
from parity.checks.float32 import AS_NEAR
from parity.checks.layers import FORWARD_EVAL, FORWARD_TRAIN, GRADIENT
from parity.checks.network import EXAMPLES
from parity.checks.pair import Both, Pair, make_pair, run_both
from parity.checks.small import build_small, names, real_batches
from parity.checks.ties import JUMP, NUDGES
from parity.report.compare import Difference, compare, relative_error, zero_gradients
from parity.sides.calls import Call, CallName
from parity.sides.flax_side import FlaxSide
from parity.sides.torch_side import TorchSide, one_rounding_away, randomised

FORWARD, BACKWARD = "forward", "backward"
EVAL, TRAIN, AT_OUTPUT = "output, evaluation mode", "output, training mode", "gradient at the output"


class Figure(NamedTuple):
    """A layer's worst error of its kind."""

    error: float  # relative L2 norm; infinite if it cannot be compared
    bound: float
    what: str  # which of its tensors


class LayerErrors(NamedTuple):
    """A layer's errors: of its output in both modes, and of the gradients at its output and of its parameters."""

    layer: str  # Flax's path: "layer1_0/conv1"; "output" is the network's
    forward: Figure | None  # None: one side has no such layer
    backward: Figure | None


class NetworkErrors(NamedTuple):
    """The errors of a network, float64, weights copied; in the order in which the layers finish."""

    name: str
    input_shape: tuple[int, ...]  # of an example of the network in the size that was measured, channels last
    examples: int
    layers: tuple[LayerErrors, ...]

    @property
    def worst_forward(self) -> Figure:
        """Return the forward error that is largest in units of its bound."""
        return worst(layer.forward for layer in self.layers)

    @property
    def worst_backward(self) -> Figure:
        """Return the backward error that is largest in units of its bound."""
        return worst(layer.backward for layer in self.layers)

    def to_json(self) -> dict[str, Any]:
        """Return the errors for `json.dumps`; what is not finite becomes the text "inf"."""
        rows = [
            {"layer": row.layer, FORWARD: _figure_to_json(row.forward), BACKWARD: _figure_to_json(row.backward)}
            for row in self.layers
        ]
        return {
            "name": self.name,
            "input_shape": list(self.input_shape),
            "examples": self.examples,
            "layers": rows,
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> "NetworkErrors":
        """Return what `to_json` was made of."""
        layers = tuple(
            LayerErrors(row["layer"], _figure_from_json(row[FORWARD]), _figure_from_json(row[BACKWARD]))
            for row in found["layers"]
        )
        return cls(found["name"], tuple(found["input_shape"]), found["examples"], layers)


def measure(name: str, *, full: bool = False, seed: int = 0) -> NetworkErrors:
    """Measure a registered network in its small size, on real examples, as `parity check` does.

    Args:
        name: as in `jaxnets.MODELS`.
        full: measure the whole depth of large networks.
        seed: of weights, examples, masks and cotangents.

    Raises:
        UserError: no such network.
    """
    lookup("model", name, dict.fromkeys(names()))
    start_device()
    torch_module, flax_module, input_shape = build_small(name, seed, full=full)
    inputs = real_batches(input_shape, 1, seed)[0].inputs[:EXAMPLES]
    pair = make_pair(randomised(torch_module, inputs, seed), FlaxSide(flax_module, np.float64), inputs, seed)
    return NetworkErrors(name, tuple(input_shape), len(inputs), layer_errors(pair))


def layer_errors(pair: Pair) -> tuple[LayerErrors, ...]:
    """Return the errors of every layer, and of the "output", of a pair in float64."""
    evaluated = pair.torch.forward(pair.inputs), pair.flax.forward(pair.variables, pair.inputs)
    both = run_both(pair, train=True)
    forward: dict[str, list[Difference]] = {}
    for what, bound, (ours, theirs) in (
        (EVAL, FORWARD_EVAL, evaluated),
        (TRAIN, FORWARD_TRAIN, (both.reference, both.found)),
    ):
        for layer, a, b in _outputs(ours.calls | {"output#0": Call(None, ours.output)}, theirs.calls, theirs.output):
            forward.setdefault(layer, []).append(_difference(what, a, b, bound))
    backward = _gradients_at_outputs(pair, both)
    zeros = zero_gradients(both.gradients, both.found_gradients)
    for row in compare(both.gradients, both.found_gradients, GRADIENT, zeros=zeros):
        layer, _, leaf = row.name.removeprefix("params/").rpartition("/")
        note = ", against the whole gradient: its own is zero" if row.name in zeros else ""
        backward.setdefault(layer or "input", []).append(row._replace(name=f"gradient of {leaf}{note}"))
    order = [*(CallName(call).layer for call in both.reference.calls), *backward, "output"]
    return tuple(
        LayerErrors(layer, _figure(forward.get(layer)), _figure(backward.get(layer))) for layer in dict.fromkeys(order)
    )


def _outputs(ours: Mapping[str, Call], theirs: Mapping[str, Call], output: Any) -> Iterable[tuple[str, Any, Any]]:
    """Yield layer and both outputs of every call that both sides make."""
    theirs = {**theirs, "output#0": Call(None, output)}
    for name, call in ours.items():
        if name in theirs:
            yield CallName(name).layer, call.output, theirs[name].output


def _gradients_at_outputs(pair: Pair, both: Both) -> dict[str, list[Difference]]:
    """Compare the gradients at the outputs of all layers, but where PyTorch's own is undecided."""
    ours = _cotangents(pair, pair.torch.module)
    common = {name: call for name, call in both.reference.calls.items() if name in both.found.calls}
    theirs = pair.flax.cotangents(pair.variables, pair.inputs, pair.cotangent, common, train=True, masks=pair.masks)
    rows = {name: _difference(AT_OUTPUT, ours[name].output, theirs[name].output, GRADIENT) for name in common}
    over = {name: row.error for name, row in rows.items() if not row.ok}
    skipped = _undecided(pair, ours, over) if over else set[str]()
    found: dict[str, list[Difference]] = {}
    for name in rows.keys() - skipped:
        found.setdefault(CallName(name).layer, []).append(rows[name])
    return found


def _cotangents(pair: Pair, module: Any) -> dict[str, Call]:
    side = TorchSide(module, pair.torch.dtype)
    return side.cotangents(pair.inputs, pair.cotangent, train=True, masks=pair.masks)


def _undecided(pair: Pair, ours: Mapping[str, Call], over: Mapping[str, float]) -> set[str]:
    """Return the calls at which PyTorch's own gradient jumps as far, by one rounding of the weights, as Flax's is off.

    A max-pool repeats a number, the next one takes one of two equals, and the last bit decides which of them has the
    gradient. Their sum is decided, and with it the gradients of all parameters, by which such a layer is judged alone.
    """
    apart = dict.fromkeys(over, 0.0)
    for nudge in range(NUDGES):
        moved = _cotangents(pair, one_rounding_away(pair.torch.module, nudge))
        for name in over:
            apart[name] = max(apart[name], relative_error(ours[name].output, moved[name].output))
    return {name for name, error in over.items() if apart[name] > JUMP and error <= AS_NEAR * apart[name]}


def _difference(what: str, ours: Any, theirs: Any, bound: float) -> Difference:
    return Difference(what, relative_error(np.asarray(ours), np.asarray(theirs)), bound, "")


def _figure(rows: list[Difference] | None) -> Figure | None:
    if not rows:
        return None
    return worst(Figure(row.error, row.bound, row.name) for row in rows)


def worst(figures: Iterable[Figure | None]) -> Figure:
    """Return the figure that is largest in units of its bound."""
    found = [figure for figure in figures if figure is not None]
    return max(found, key=lambda figure: figure.error / figure.bound)


def _figure_to_json(figure: Figure | None) -> dict[str, Any] | None:
    if figure is None:
        return None
    error = figure.error if np.isfinite(figure.error) else "inf"
    return {"error": error, "bound": figure.bound, "what": figure.what}


def _figure_from_json(found: Mapping[str, Any] | None) -> Figure | None:
    return None if found is None else Figure(float(found["error"]), found["bound"], found["what"])
