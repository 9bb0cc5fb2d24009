"""A PyTorch module's pass in training mode, its random numbers given from outside."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from parity.report.compare import relative_error
from parity.sides.draw import Inputs
from parity.sides.numbers import to_numpy
from parity.sides.outputs import named_leaves
from parity.sides.random_draws import Draw
from parity.sides.torch_draws import TorchDraws
from parity.sides.torch_module import TorchModule
from parity.sides.torch_passes import gradients_of

Arrays = dict[str, np.ndarray]


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

    @property
    def moving(self) -> bool:
        """Whether there are running statistics."""
        layers = self.module.module.modules()
        return any(isinstance(getattr(m, "running_mean", None), torch.Tensor) for m in layers)

    def computes(self) -> bool:
        """Tell whether the module can be called in training mode as it is."""
        try:
            with self.module.kept(), torch.no_grad():
                self.module.call(*self.inputs, train=True)
        except Exception:
            return False
        finally:
            self.module.module.eval()
        return True

    def draws(self) -> list[Draw]:
        """Return what a pass draws, in order."""
        found: list[Draw] = []

        def noted(draw: Draw) -> np.ndarray:
            found.append(draw)
            return np.ones(draw.shape)

        with self.module.kept(), torch.no_grad(), TorchDraws(noted):
            self.module.call(*self.inputs, train=True)
        self.module.module.eval()
        return found

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
