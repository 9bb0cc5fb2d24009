"""A pass in training mode as a file has it, of either side."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from parity.records.encode import Found, line_header, line_of, text
from parity.records.steps import draws_of, number_of
from parity.sides.crashes import Crash
from parity.sides.random_draws import Draw


def no_pass(error: BaseException, crash: Crash | None) -> dict[str, Any]:
    """Return, as data, why there is no pass in training mode.

    Args:
        error: of the recording.
        crash: what the side itself raises, if anything.
    """
    why = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    if crash is None:
        return {"draws": None, "why": why}
    line = None if crash.line is None else line_header(crash.line)
    return {"draws": None, "why": why, "crash": [crash.short, line, crash.refused]}


def without_training(side: str, header: Mapping[str, Any]) -> str:
    """Return what a record says of training mode if it holds no pass in it, "" if it does."""
    crash, why = crash_of(header)
    if crash is not None:
        return f"the {side} side {'refuses' if crash.refused else 'raises in'} training mode: {crash.words}"
    return f"the {side} side cannot be followed in training mode{why}" if why else ""


def crash_of(header: Mapping[str, Any]) -> tuple[Crash | None, str]:
    """Return what a side raised in training mode, if it did, and why there is no pass."""
    why = f": {text(header['why'])}" if "why" in header else ""
    if "crash" not in header:
        return None, why
    words, line, refused = header["crash"]
    return Crash(text(words), None if line is None else line_of(line), bool(refused)), why


class RecordedPass(NamedTuple):
    """What PyTorch computed in training mode."""

    outputs: Mapping[str, np.ndarray]
    gradients: Mapping[str, Any]  # large ones are fingerprints
    cotangents: Mapping[str, np.ndarray]
    after: Mapping[str, np.ndarray]


class RecordedTorchMode:
    """PyTorch's pass, with the random numbers that it drew."""

    def __init__(self, header: Mapping[str, Any], parameters: Mapping[str, np.ndarray], found: Found):
        self._crash, self._why = crash_of(header)
        self._there = header["draws"] is not None
        drawn = draws_of(header["draws"], found) if self._there else []
        self._draws, self.numbers = [d.draw for d in drawn], [d.numbers for d in drawn]
        self.moving = bool(header["moving"])
        self._pass: RecordedPass | None = None
        self._errors: tuple[dict[str, float], ...] = ({}, {})
        self._shares: dict[str, float] = {}
        if "outputs" in header:
            parts = ({text(n): found.get(w) for n, w in header[key].items()}
                     for key in ("outputs", "gradients", "cotangents", "after"))  # fmt: skip
            outputs, gradients, cotangents, after = parts
            if not all(isinstance(a, np.ndarray) for part in (outputs, cotangents, after) for a in part.values()):
                raise TypeError("an array is a fingerprint where all of it is needed")
            self._pass = RecordedPass(outputs, gradients, cotangents, {**parameters, **after})
            self._errors = tuple({text(n): number_of(e) for n, e in part.items()} for part in header["float32"])
            self._shares = {text(n): number_of(share) for n, share in header["shares"].items()}

    def crash(self) -> Crash | None:
        """Return what the module raised in training mode where it was recorded, if anything."""
        return self._crash

    def draws(self) -> list[Draw]:
        """Return what the pass drew, in order."""
        if not self._there:
            raise ValueError(f"the record holds no pass in training mode{self._why}")
        return self._draws

    @property
    def as_evaluation(self) -> bool:
        """Whether the module returned in training mode what it returns in evaluation mode; then there is no pass."""
        return self._there and self._pass is None and not self._draws and not self.moving

    def outputs(self, numbers: Sequence[np.ndarray], among: Collection[str]) -> Mapping[str, np.ndarray]:
        """Return the outputs (these)."""
        return self.passed(numbers, among).outputs

    def passed(self, numbers: Sequence[np.ndarray], among: Collection[str]) -> RecordedPass:
        """Return the pass; the gradients are those of all outputs."""
        del numbers
        if self._pass is None:
            raise ValueError("the record holds no pass in training mode")
        return self._pass._replace(outputs={n: a for n, a in self._pass.outputs.items() if n in among})

    def float32_errors(self, _numbers: Any, _ours: Any) -> tuple[dict[str, float], ...]:
        """Return the relative errors of the outputs, and of the gradients, of the module in float32."""
        return self._errors

    def share(self, key: str) -> float:
        """Return the share of a batch in the statistics of the layer that a buffer belongs to."""
        return self._shares.get(key, 1.0)


class RecordedJaxMode:
    """JAX's passes, computed by numpy."""

    def __init__(self, header: Mapping[str, Any], run: Any, found: Found):
        self.switched = bool(header["switched"])
        self._crash, self._why = crash_of(header)
        drawn = [] if header["draws"] is None else draws_of(header["draws"], found)
        self._draws, self._run, self._leaves = [d.draw for d in drawn], run, dict[str, Any]()
        self._there = header["draws"] is not None
        self._names = {
            key: [text(name) for name in header[key]] for key in ("outputs", "weights", "changed", "gradients")
        }

    def of(self, leaves: Mapping[str, Any]) -> "RecordedJaxMode":
        """Take other leaves."""
        self._leaves = dict(leaves)
        return self

    def crash(self) -> Crash | None:
        """Return what the model raised in training mode where it was recorded, if anything."""
        return self._crash

    def draws(self) -> list[Draw]:
        """Return what a pass draws, in order."""
        if not self._there:
            raise ValueError(f"the record holds no pass in training mode{self._why}")
        return self._draws

    def outputs(self, numbers: Sequence[np.ndarray]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the outputs, and the leaves that are changed."""
        names = [*self._names["outputs"], *self._names["changed"]]
        found = self._run("train", self._leaves, *self._given(numbers))
        count = len(self._names["outputs"])
        pairs = list(zip(names, found, strict=True))
        return dict(pairs[:count]), dict(pairs[count:])

    def gradients(self, numbers: Sequence[np.ndarray], cotangents: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Return the gradients of a weighted sum of the outputs, by leaf."""
        shapes = {name: array.shape for name, array in self.outputs(numbers)[0].items()}
        weights = [np.asarray(cotangents.get(n, np.zeros(shapes[n])), np.float64) for n in self._names["weights"]]
        found = self._run("train gradients", self._leaves, *self._given(numbers), *weights)
        return dict(zip(self._names["gradients"], found, strict=True))

    def _given(self, numbers: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [np.asarray(array, np.float64) for array in numbers]
