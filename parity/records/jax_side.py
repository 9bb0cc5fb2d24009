"""The JAX side of a port as a file has it: what `parity.sides.jax_side.JaxSide` asks for, computed by numpy."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from data.errors import UserError
from parity.records.encode import Found, text, texts
from parity.records.equations import compute
from parity.records.module import Made, inputs_of
from parity.records.programs import Reader
from parity.records.training_mode import RecordedJaxMode
from parity.sides.draw import Inputs
from parity.sides.given import LAYOUTS
from parity.sides.numbers import tree_leaves
from parity.sides.outputs import ONLY
from parity.trace.jax_eval import evaluate
from parity.trace.program import Numbers

NEAR = 1e-9  # relative: the computation here gives what JAX has computed


class RecordedSide:
    """A JAX model whose programs are those of a record."""

    narrow = False

    def __init__(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        found = Found(arrays)
        self.made = Made(text(header["name"]), {text(k): text(v) for k, v in header["versions"].items()})
        self.kind, self.notes, self.concrete = text(header["kind"]), texts(header["notes"]), bool(header["concrete"])
        self.trained = frozenset(texts(header["trained"]))
        named = {key: {text(name): found.array(where) for name, where in header[key].items()} for key in ARRAYS}
        self.leaves, self._outputs, self._cotangents = named["leaves"], named["outputs"], named["cotangents"]
        self._gradients, self._after = named["gradients"], named["after"]
        self.given, self.inputs = (inputs_of(header[key], found) for key in ("given", "inputs"))
        self.ways = {text(name): text(way) for name, way in header["layouts"].items()}
        if not set(self.ways.values()) <= set(LAYOUTS) or not self.trained <= set(self.leaves):
            raise ValueError("it names layouts or leaves that are not there")
        reader = Reader(header["lines"], found, compute)
        self._programs = {text(name): reader.closed(program) for name, program in header["programs"].items()}
        self.output = self._tree(self._outputs)
        self.training = None
        if header.get("training") is not None:  # records of earlier versions have none
            self.training = RecordedJaxMode(header["training"], self._results, found)

    def check(self) -> None:
        """Compute what JAX has computed.

        Raises:
            UserError: it is not what comes out here.
        """
        outputs = self._run("forward", self.leaves, names=self._outputs)
        found = self.gradients(self.leaves, self._cotangents)
        for name, ours, theirs in (
            *((name, array, outputs[name]) for name, array in self._outputs.items()),
            *((f"gradient of {path}", array, found[path]) for path, array in self._gradients.items()),
        ):
            if ours.dtype.kind == "f" and np.linalg.norm(ours - theirs) > NEAR * np.linalg.norm(ours) + 1e-12:
                raise UserError(f"the record's {name} is not what its equations give here: nothing can be compared")

    def program(self, _inputs: Inputs) -> tuple[Any, list[Any]]:
        """Return the forward pass, and its inputs in order."""
        return self._programs["forward"], self._flat()

    def call(
        self, leaves: Mapping[str, Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], *, train: bool
    ) -> tuple[Any, dict[str, Any]]:
        """Return the output, and the leaves that a training step changes, of the recorded inputs."""
        del args, kwargs
        if train:
            return None, self._run("step", leaves, names=self._after) if self._after else {}
        return self._tree(self._run("forward", leaves, names=self._outputs)), {}

    def gradients(self, leaves: Mapping[str, Any], cotangents: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the gradients of the trained leaves of a weighted sum of the outputs."""
        weights = [cotangents.get(name, np.zeros(array.shape)) for name, array in sorted(self._cotangents.items())]
        return self._run("gradients", leaves, *weights, names=self._gradients)

    def native(self, leaves: Mapping[str, Any]) -> Any:
        """Return the leaves: the model is not here."""
        return dict(leaves)

    def _flat(self) -> list[Any]:
        return [np.asarray(array) for array in tree_leaves((self.inputs.args, self.inputs.kwargs))]

    def _run(self, name: str, leaves: Mapping[str, Any], *more: Any, names: Any) -> dict[str, Any]:
        """Compute a program; return its results by name."""
        return dict(zip(sorted(names), self._results(name, leaves, *more), strict=True))

    def _results(self, name: str, leaves: Mapping[str, Any], *more: Any) -> list[Any]:
        """Compute a program; return its results in order."""
        program = self._programs[name]
        given = [np.asarray(leaves[path], self.leaves[path].dtype) for path in sorted(self.leaves)]
        with np.errstate(all="ignore"):
            return evaluate(program.jaxpr, program.consts, [*given, *self._flat(), *more], Numbers())

    def _tree(self, arrays: Mapping[str, Any]) -> Any:
        return arrays[ONLY] if list(arrays) == [ONLY] else dict(arrays)


ARRAYS = ("leaves", "outputs", "cotangents", "gradients", "after")
