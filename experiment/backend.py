"""What the training loop asks of a framework: `jaxnets.loop` and `torchnets.loop` are the two backends."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from data import Loader
from experiment.activations import Activation, Kernel, Pool
from experiment.config import Config
from experiment.distributed.environment import ProcessInfo
from experiment.loop.monitor import Counts, Monitor
from experiment.model_summary import Layer
from experiment.registry import Entry


class LoopState(NamedTuple):
    """The state of a framework's loop between two steps; valid until the loop continues."""

    epoch: int  # from 0
    batches: int  # of the epoch that are done
    variables: Any  # the weights to evaluate and keep: those of the moving average, if there is one
    state: Callable[[], Mapping[str, np.ndarray]]  # everything that later steps depend on, as arrays


class ResumePoint(NamedTuple):
    """Where a loop resumes."""

    counts: Counts | None  # of an epoch that has begun
    epoch: int
    state: Mapping[str, np.ndarray]  # from `LoopState.state`

    @property
    def batches(self) -> int:
        """How many of the epoch's batches are done."""
        return self.counts.steps if self.counts else 0


class Backend(Protocol):
    """A framework, as the module that `load_framework` returns.

    Models and variables are opaque to the caller: what `create` returns is passed to the other functions.
    """

    @property
    def __name__(self) -> str:
        """The name of the module."""
        ...

    @property
    def MODELS(self) -> dict[str, Entry]:
        """Every network by name."""
        ...

    @property
    def join(self) -> Callable[[ProcessInfo, str, int], None]:
        """Join the processes that train one network: this process, and the coordinator's host and port."""
        ...

    @property
    def replicas(self) -> Callable[[], int]:
        """Return how many devices, of all processes, share each batch."""
        ...

    @property
    def parts(self) -> Callable[[Any], tuple[Any, Any] | None]:
        """Return a network whose head alone is trained as two: what makes features, and the head; else None."""
        ...

    @property
    def summarize(self) -> Callable[[Entry], list[Layer]]:
        """Return the layers of a network."""
        ...

    @property
    def activations(self) -> Callable[[Any, Any, np.ndarray], dict[str, Activation]]:
        """Return what each layer and function of a network puts out for inputs (N, ..., C), given its variables."""
        ...

    @property
    def gradient(self) -> Callable[..., np.ndarray]:
        """Return the gradient of logits by an activation or by the inputs: see `jaxnets.activations`."""
        ...

    @property
    def kernels(self) -> Callable[[Any, Any, np.ndarray], dict[str, Kernel]]:
        """Return the weights of each convolution and each linear layer, given variables and inputs."""
        ...

    @property
    def max_pools(self) -> Callable[[Any, Any, np.ndarray], dict[str, Pool]]:
        """Return what each max-pooling keeps, given variables and inputs."""
        ...

    @property
    def trains_together(self) -> Callable[[Config, int, int], bool]:
        """Return whether that many trainings of a network of that many parameters run as one program."""
        ...

    @property
    def settings(self) -> Callable[[], dict[str, str]]:
        """Return the environment variables that change numbers, of those that are set."""
        ...

    def describe(self) -> tuple[str, dict[str, str]]:
        """Return the device's name and the versions that affect the numbers."""
        ...

    def set_precision(self, config: Config) -> None:
        """Set the precision of this process, and everything else that the numbers depend on; start the device."""
        ...

    def create(self, entry: Entry, num_classes: int, seed: int) -> tuple[Any, Any]:
        """Return a network and its initial variables."""
        ...

    def count_parameters(self, model: Any, variables: Any) -> int:
        """Return the number of trainable values."""
        ...

    def fit(
        self,
        model: Any,
        variables: Any,
        loader: Loader,
        config: Config,
        monitor: Monitor,
        start: ResumePoint | None = None,
    ) -> Iterator[LoopState]:
        """Train; yield the state at the end of each epoch and wherever the monitor asks for it."""
        ...

    def trace(self, folder: Path) -> AbstractContextManager[None]:
        """Return a context that profiles the computation."""
        ...

    def predict(self, model: Any, variables: Any, loader: Loader, config: Config) -> np.ndarray:
        """Return the logits (N, classes) of every example, in the loader's order."""
        ...

    def export(self, variables: Any) -> dict[str, np.ndarray]:
        """Return the weights as they are stored."""
        ...

    def restore(self, variables: Any, weights: Mapping[str, np.ndarray], head: str = "") -> Any:
        """Return the variables for stored weights of either framework; `variables` are the template."""
        ...


class EnsembleBackend(Backend, Protocol):
    """A backend whose `trains_together` may return True."""

    def fit_many(
        self,
        model: Any,
        variables: Sequence[Any],
        loaders: Sequence[Loader],
        configs: Sequence[Config],
        monitors: Sequence[Monitor],
    ) -> Iterator[list[LoopState]]:
        """Train several networks as one program; yield the states of all."""
        ...
