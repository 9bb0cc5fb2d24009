"""The PyTorch side of a port as a file has it: what `parity.sides.reference.Reference` asks for."""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from parity.records.encode import Found, text, texts, trace_of, tree_of
from parity.records.training_mode import RecordedTorchMode
from parity.sides.draw import Inputs
from parity.sides.given import LAYOUTS
from parity.sides.reference import Pass, Statistics


class Made(NamedTuple):
    """With what a record was made."""

    name: str  # the target, "my_torch.py:Net"
    versions: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.name}, {', '.join(f'{name} {version}' for name, version in self.versions.items())}"


class RecordedModule:
    """A PyTorch module whose numbers are those of a record."""

    def __init__(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        found = Found(arrays)
        self.made = Made(text(header["name"]), {text(k): text(v) for k, v in header["versions"].items()})
        self.tied = {text(name): text(other) for name, other in header["tied"].items()}
        self.trained, self.saved = frozenset(texts(header["trained"])), frozenset(texts(header["saved"]))
        self.notes = texts(header["notes"])
        self.parameters = {text(key): found.array(where) for key, where in header["weights"].items()}
        self.given, self.inputs = (inputs_of(header[name], found) for name in ("given", "inputs"))
        self.ways = {text(name): text(way) for name, way in header["layouts"].items()}
        if not set(self.ways.values()) <= set(LAYOUTS) or not self.trained <= set(self.parameters):
            raise ValueError("it names layouts or weights that are not there")
        trace, named = trace_of(header["trace"], found), {text(n): w for n, w in header["outputs"].items()}
        outputs = {name: found.array(where) for name, (_, where) in named.items()}
        numbers = {name: number for name, (number, _) in named.items() if number is not None}
        if not all(isinstance(n, int) and 0 <= n < len(trace.values) for n in numbers.values()):
            raise ValueError("an output is no value of the trace")
        self._pass = Pass(trace, outputs, numbers)
        single = header["float32"]
        self._single = {text(n): found.array(where) for n, where in single["outputs"].items()}
        self._errors = {text(name): float(error) for name, error in single["gradients"].items()}
        self._gradients = {text(name): found.get(where) for name, where in header["gradients"].items()}
        self._cotangents = {text(name): found.array(where) for name, where in header["cotangents"].items()}
        step = header["statistics"]
        after = {text(name): found.array(where) for name, where in step["after"].items()}
        shares = {text(name): float(share) for name, share in step["shares"].items()}
        self.training = None
        if header.get("training") is not None:  # records of earlier versions have none
            self.training = RecordedTorchMode(header["training"], self.parameters, found)
        self._statistics = Statistics(int(step["layers"]), int(step["noisy"]), after, shares)

    @property
    def sizes(self) -> dict[str, int]:
        """Return how many numbers each parameter and buffer has."""
        return {name: array.size for name, array in self.parameters.items()}

    def recorded(self, _inputs: Inputs) -> Pass:
        """Return the forward pass."""
        return self._pass

    def float32_outputs(self, _inputs: Inputs) -> dict[str, np.ndarray]:
        """Return the outputs of the module in float32."""
        return self._single

    def gradients(
        self, _inputs: Inputs, among: Collection[str] | None = None
    ) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """Return gradients, large ones as fingerprints, of a weighted sum of the outputs, and its weights."""
        del among  # the file has the gradients of one sum, of all outputs
        return self._gradients, self._cotangents

    def float32_errors(self, _inputs: Inputs, _reference: Any, _cotangents: Any) -> dict[str, float]:
        """Return the relative error of each gradient in float32."""
        return self._errors

    def statistics(self, _inputs: Inputs) -> Statistics:
        """Return what a training step made of running statistics."""
        return self._statistics


def inputs_of(header: Any, found: Found) -> Inputs:
    """Return the inputs of a header."""
    args, kwargs = tree_of(header["args"], found), tree_of(header["kwargs"], found)
    if not isinstance(args, tuple) or not isinstance(kwargs, dict):
        raise TypeError("the inputs are no positional ones and named ones")
    return Inputs(args, kwargs)
