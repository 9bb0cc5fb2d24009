"""A training as a file has it: what `parity.training.compare` asks of PyTorch's side or of JAX's."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from data.errors import UserError
from parity.records.encode import Found, text, texts, trace_of, tree_of
from parity.records.equations import compute
from parity.records.module import Made
from parity.records.programs import Reader
from parity.records.steps import draws_of, number_of, precision_of, step_of
from parity.training.precision import Precision
from parity.training.program import StepProgram, equations
from parity.training.tape import Tape
from parity.training.weights import First

NEAR = 1e-9  # relative: the computation here gives what JAX has computed


class RecordedTorchTraining:
    """A PyTorch training whose numbers are those of a record."""

    framework = "PyTorch"

    def __init__(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        found = Found(arrays)
        self.made, self.notes = _made(header), texts(header["notes"])
        self.steps = [step_of(step, found) for step in header["steps"]]
        self.drawn = [draws_of(draws, found) for draws in header["draws"]]
        self.batches = [_batch(batch, found) for batch in header["batches"]]
        if not self.steps or not len(self.steps) == len(self.drawn) == len(self.batches):
            raise ValueError("its steps, batches and draws are not as many")
        first, trace = header["first"], trace_of(header["trace"], found)
        values = {text(name): found.array(where) for name, where in first["arrays"].items()}
        outputs, roots = list(first["outputs"]), list(first["roots"])
        if not all(type(n) is int and 0 <= n < len(trace.values) for n in (*outputs, *roots)):
            raise ValueError("an output is no value of the trace")
        self.first = First(trace, outputs, roots, values, self.steps[0])
        self.shares = {text(layer): number_of(share) for layer, share in header["shares"].items()}
        self._precision = precision_of(header["precision"])

    def precision(self) -> Precision | None:
        """Return what it computes in which type."""
        return self._precision


class StepGiven(NamedTuple):
    """What one step of a record is given."""

    program: int
    arrays: list[np.ndarray]


class RecordedProgram(StepProgram):
    """One step of JAX's, of a record."""

    def __init__(self, header: Mapping[str, Any], reader: Reader):
        self.names, self.outputs = texts(header["names"]), texts(header["outputs"])
        self.loss, self.count, self.single = int(header["loss"]), int(header["count"]), bool(header["single"])
        self.closed = reader.closed(header["closed"])
        every, results = list(equations(self.closed.jaxpr)), len(self.closed.jaxpr.outvars)
        if self.count != len(self.names) or not len(self.outputs) <= self.loss < results:
            raise ValueError("a program has other leaves or results than it says")
        self.backward = {id(every[number]) for number in header["backward"]}

    def flat(self, batch: StepGiven) -> list[Any]:
        """Return the arrays of a step."""
        return batch.arrays


class RecordedJaxTraining:
    """A JAX training whose steps are those of a record."""

    framework = "JAX"

    def __init__(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]):
        found = Found(arrays)
        self.made, self.notes = _made(header), texts(header["notes"])
        self.leaves = {text(name): found.array(where) for name, where in header["leaves"].items()}
        reader = Reader(header["lines"], found, compute)
        self._programs = [RecordedProgram(program, reader) for program in header["programs"]]
        pairs = [[_batch(batch, found) for batch in pair] for pair in header["batches"]]
        self.torch_batches, self.batches = ([pair[side] for pair in pairs] for side in (0, 1))
        self.given = [
            StepGiven(step["program"], [found.array(where) for where in step["given"]]) for step in header["steps"]
        ]
        self.drawn = [draws_of(step["draws"], found) for step in header["steps"]]
        self._after = {text(name): found.array(where) for name, where in header["after"].items()}
        self._loss = float(found.array(header["loss"]))
        self._precision = precision_of(header["precision"])
        for given in self.given:
            program = self.program(given)
            if set(program.names) != set(self.leaves) or set(program.outputs) != set(self._after):
                raise ValueError("a program has other leaves than the state")
            if len(program.closed.jaxpr.invars) != program.count + len(given.arrays):
                raise ValueError("a step is given another number of arrays than its program takes")
        if not self.given or len(self.given) != len(pairs):
            raise ValueError("its steps and batches are not as many")

    def program(self, given: StepGiven) -> RecordedProgram:
        """Return the equations of a step."""
        if type(given.program) is not int or not 0 <= given.program < len(self._programs):
            raise ValueError(f"there is no program {given.program!r}")
        return self._programs[given.program]

    def precision(self, _batch: Any) -> Precision | None:
        """Return what it computes in which type."""
        return self._precision

    def check(self) -> None:
        """Compute the first step as JAX has computed it.

        Raises:
            UserError: something else comes out here.
        """
        tape = Tape(self.program(self.given[0])).run(self.leaves, self.given[0])
        found = {name: np.asarray(node.array) for name, node in tape.outputs.items()}
        pairs = {name: (array, found[name]) for name, array in self._after.items() if array.dtype.kind == "f"}
        pairs["loss"] = np.asarray(self._loss), np.asarray(tape.loss.array)
        for name, (ours, theirs) in pairs.items():
            if not np.linalg.norm(ours - theirs) <= NEAR * np.linalg.norm(ours) + 1e-12 and np.isfinite(ours).all():
                raise UserError(f"the record's {name} is not what its equations give here: nothing can be compared")


def _made(header: Mapping[str, Any]) -> Made:
    return Made(text(header["name"]), {text(k): text(v) for k, v in header["versions"].items()})


def _batch(header: Any, found: Found) -> tuple[Any, ...]:
    batch = tree_of(header, found)
    if not isinstance(batch, tuple):
        raise TypeError("a batch is no tuple")
    return batch
