"""A PyTorch module's pass in training mode, its random numbers given from outside."""

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import numpy as np
import torch

from parity.report.compare import relative_error
from parity.sides import torch_passes
from parity.sides.crashes import Crash, crash_of
from parity.sides.draw import Inputs
from parity.sides.numbers import to_numpy
from parity.sides.outputs import named_leaves
from parity.sides.random_draws import Draw
from parity.sides.torch_draws import TorchDraws, draws_of
from parity.sides.torch_module import TorchModule
from parity.sides.torch_passes import gradients_of
from parity.trace.lines import Line, line_of_frames

Arrays = dict[str, np.ndarray]
SAME = 1e-13
FRAME = re.compile(r'File "(.+?)", line (\d+), in (\S+)')


class TorchPass(NamedTuple):
    """What PyTorch computes in training mode."""

    outputs: Arrays
    gradients: dict[str, Any]  # by key of the state_dict; in a record, large ones are fingerprints
    cotangents: Arrays  # the weights of the outputs in the sum that is differentiated
    after: Arrays  # tensors


class TorchTrainingMode:
    """Passes in training mode of a module that is here."""

    numbers: Sequence[np.ndarray] | None = None  # any may be given

    def __init__(self, module: TorchModule, inputs: Inputs):
        self.module, self.inputs = module, inputs

    def of(self, module: TorchModule) -> "TorchTrainingMode":
        """Return the same passes of another module."""
        return TorchTrainingMode(module, self.inputs)

    @property
    def moving(self) -> bool:
        """Whether there are running statistics."""
        layers = self.module.module.modules()
        return any(isinstance(getattr(m, "running_mean", None), torch.Tensor) for m in layers)

    def crash(self) -> Crash | None:
        """Return what a forward and a backward pass of the module as it is raise in training mode, if anything."""
        try:
            self._both_passes()
        except Exception as error:
            found = crash_of(error)
            return found if found.line is not None else found._replace(line=self._line_of_backward())
        finally:
            with suppress(Exception):  # `train` may be what raises
                self.module.module.eval()
        return None

    def _both_passes(self) -> None:
        with self.module.kept():
            outputs = named_leaves(self.module.call(*self.inputs, train=True)).values()
            sums = [a.sum() for a in outputs if isinstance(a, torch.Tensor) and a.requires_grad]
            named = {k: t for k, t in self.module.tensors.items() if k in self.module.trained and t.requires_grad}
            if sums:
                gradients_of(torch.stack(sums).sum(), named)

    def _line_of_backward(self) -> Line | None:
        """Return the line of the forward pass whose backward pass raises, as autograd warns of it."""
        with warnings.catch_warnings(record=True) as seen, torch.autograd.set_detect_anomaly(True, check_nan=False):
            warnings.simplefilter("always")
            with suppress(Exception):
                self._both_passes()
        frames = [found for warning in seen for found in FRAME.findall(str(warning.message))]
        return line_of_frames((file, int(number), name) for file, number, name in reversed(frames))

    def draws(self) -> list[Draw]:
        """Return what a pass draws, in order."""
        with self.module.kept():
            found = draws_of(lambda: self.module.call(*self.inputs, train=True))
        self.module.module.eval()
        return found

    @property
    def as_evaluation(self) -> bool:
        """Whether outputs and gradients of a module that draws nothing are those of evaluation mode."""
        found = self.passed([])
        before = self.module.outputs(self.inputs)
        gradients = torch_passes.gradients(self.module, self.inputs, found.cotangents)[0]
        pairs = [(before, found.outputs), ({name: gradients[name] for name in found.gradients}, found.gradients)]
        return before.keys() == found.outputs.keys() and all(
            relative_error(a[name], b[name]) <= SAME for a, b in pairs for name in b
        )

    def outputs(self, numbers: Sequence[np.ndarray], among: Collection[str] | None = None) -> Arrays:
        """Return the outputs (these)."""
        return self._run(self.module, numbers, None, among).outputs

    def passed(self, numbers: Sequence[np.ndarray], among: Collection[str] | None = None) -> TorchPass:
        """Return a pass with its gradients, of the outputs (of these)."""
        rng = np.random.default_rng(2)
        plain = self.outputs(numbers, among)
        cotangents = {name: rng.normal(size=array.shape) for name, array in plain.items()}
        return self._run(self.module, numbers, cotangents, among)

    def float32_errors(self, numbers: Sequence[np.ndarray], ours: TorchPass) -> tuple[dict[str, float], ...]:
        """Return the relative errors of the outputs, and of the gradients, of the module in float32."""
        single = TorchModule(self.module.module, torch.float32)
        found = self._run(single, numbers, ours.cotangents, ours.outputs.keys())
        return tuple(
            {name: relative_error(array, theirs[name]) for name, array in mine.items() if name in theirs}
            for mine, theirs in ((ours.outputs, found.outputs), (ours.gradients, found.gradients))
        )

    def share(self, key: str) -> float:
        """Return the share of a batch in the statistics of the layer that a buffer belongs to."""
        momentum = getattr(self.module.module.get_submodule(key.rpartition(".")[0]), "momentum", None)
        return 1.0 if momentum is None else float(momentum)

    def _run(
        self,
        module: TorchModule,
        numbers: Sequence[np.ndarray],
        cotangents: Mapping[str, np.ndarray] | None,
        among: Collection[str] | None,
    ) -> TorchPass:
        supply = iter(numbers)
        with module.kept():
            with TorchDraws(lambda _: next(supply)):
                output = named_leaves(module.call(*self.inputs, train=True))
            outputs = {
                n: a for n, a in output.items() if isinstance(a, torch.Tensor) and (among is None or n in among)
            }
            after = module.parameters
            named = {k: t for k, t in module.tensors.items() if k in module.trained and t.requires_grad}
            wanted = {n: a for n, a in outputs.items() if a.requires_grad} if named and cotangents is not None else {}
            total = sum(
                (a * torch.from_numpy(cotangents[n]).to(a.dtype)).sum() for n, a in wanted.items() if cotangents
            )
            found = gradients_of(total, named) if isinstance(total, torch.Tensor) else {}
        module.module.eval()
        return TorchPass({n: to_numpy(a) for n, a in outputs.items()}, found, dict(cotangents or {}), after)
