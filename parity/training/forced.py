"""A long training in float32, each step from PyTorch's state: what one step of rounding does, a thousand times.

Two float32 trainings part, as any two do that differ by a rounding. So the weights, the statistics and the
optimizer's state of Flax are set to PyTorch's before each step (teacher forcing), and the step's own error is what is
left. Where an activation is nearer to zero than a rounding, one side's ReLU lets it through and the other's does not:
such flips are counted, and shown beside the errors of the steps that have any.

How exact can a float32 step be? That is measured, too: PyTorch makes each step in float64 as well, from one state.
"""

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
import torch
from jax.extend.core import ClosedJaxpr, Literal
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from data.registry import lookup
from jaxnets.environment import start_device
from parity.checks.network import check_network
from parity.checks.small import LARGE, build_small, real_batches
from parity.copy import flatten, to_flax
from parity.report.compare import norm, relative_error
from parity.sides.calls import channels_last
from parity.sides.compilation import QUICK_COMPILATION
from parity.sides.flax_hooks import injected
from parity.sides.flax_side import FlaxSide, mode
from parity.sides.torch_hooks import injected as torch_injected
from parity.sides.torch_side import TorchSide, randomised
from parity.training.trajectory import (
    OPTIMIZERS,
    Lesson,
    Moment,
    Step,
    compare_moments,
    draw_masks,
    recipe,
    single_steps,
)
from torchnets import MODELS
from torchnets.compose import training
from torchnets.tensors import as_tensors

BOUND = 1e-5
STEPS = 1000
TIMES = 3  # as much further off may Flax be, the rule for float32 gradients, too
CALLS = {"jit", "pjit", "closed_call", "custom_jvp_call", "custom_vjp_call"}  # primitives that are calls of a jaxpr
RELUS = {functional.relu, torch.relu, torch.relu_, torch.Tensor.relu, torch.Tensor.relu_}


class Forced(NamedTuple):
    """What a thousand steps of a network have shown: the worst errors, and how many ReLUs flipped."""

    name: str
    optimizer: str
    steps: int
    parameters: float  # of a parameter, relative to its norm, after a step without a flip
    statistics: float  # of a BatchNorm's statistic after a step without a flip, see `_statistics`
    with_flips: float  # the worst of both in the other steps
    itself: float  # the worst of both in PyTorch's own float32 steps, against float64's
    means: float  # of a running mean relative to its own norm, which may be nearly nothing
    flips: int  # activations that one side's ReLU lets through and the other's does not
    activations: int  # of all ReLUs in all steps
    steps_with_flips: int

    @property
    def ok(self) -> bool:
        """Whether each step without a flip held, and most were of these; or none was far worse than PyTorch's own."""
        calm = max(self.parameters, self.statistics)
        held = calm <= BOUND and 2 * self.steps_with_flips <= self.steps
        every = [error for error in (calm, self.with_flips) if error < np.inf]  # there may be no step without a flip
        return held or max(every) <= TIMES * self.itself

    def to_json(self) -> dict[str, Any]:
        """Return the figures for `json.dumps`."""
        figures = {key: None if value == np.inf else value for key, value in self._asdict().items()}
        return {"ok": self.ok, **figures}


def rows(names: Sequence[str], optimizer: str, steps: int) -> Iterator[dict[str, Any]]:
    """Yield each network's figures, once its line is printed; by default of all below a million parameters.

    Raises:
        UserError: no such network or optimizer.
    """
    lookup("optimizer", optimizer, dict.fromkeys(OPTIMIZERS))
    for name in names:
        lookup("model", name, MODELS)
    start_device()
    for name in names or [name for name, entry in MODELS.items() if entry.num_params < LARGE]:
        found = forced(name, optimizer, steps=steps)
        print(
            f"{name:13} parameters {found.parameters:.1e}  statistics {found.statistics:.1e}  flips {found.flips:,}",
            f"of {found.activations:,} ReLUs, in {found.steps_with_flips} of {found.steps:,} steps, there",
            f"{found.with_flips:.1e}; PyTorch from float64 {found.itself:.1e}",
            flush=True,
        )
        yield found.to_json()


def forced(name: str, optimizer: str, *, steps: int = STEPS, seed: int = 0) -> Forced:
    """Train a registered network in its small size, in float32, on real data, each step from PyTorch's state.

    Raises:
        UserError: no such network.
        RuntimeError: the two sides differ, or do not have the same ReLUs.
    """
    report = check_network(name, seed=seed)
    if not report.ok:
        raise RuntimeError(f"{name} is not the same on both sides: {report.failures[0]}")
    torch_module, flax_module, input_shape = build_small(name, seed)
    batches = [batch._replace(inputs=batch.inputs.astype("f4")) for batch in real_batches(input_shape, steps, seed)]
    torch_module = randomised(torch_module, batches[0].inputs, seed)
    masks = draw_masks(torch_module, batches, seed)
    lesson = Lesson(torch_module, flax_module, batches, masks, recipe(optimizer), report.zeros, np.float32)
    flips = Flips(lesson)
    errors = [(*_errors(step), flips.last) for step in single_steps(lesson, flips)]
    itself = [max(_errors(step)[:2]) for step in torch_steps(lesson)]
    calm = [row for row in errors if not row[3]]
    others = [max(row[:2]) for row in errors if row[3]]
    return Forced(
        name=name,
        optimizer=optimizer,
        steps=len(errors),
        parameters=max((row[0] for row in calm), default=np.inf),
        statistics=max((row[1] for row in calm), default=np.inf),
        with_flips=max(others, default=0.0),
        itself=max(itself),
        means=max(row[2] for row in errors),
        flips=flips.total,
        activations=flips.activations,
        steps_with_flips=len(others),
    )


def torch_steps(lesson: Lesson) -> Iterator[Step]:
    """Yield how far each of PyTorch's own steps ends from the same one in float64, both from the same state."""
    model = TorchSide(lesson.torch_module, lesson.dtype).module
    compose = partial(training, config=dataclasses.replace(lesson.config, ema=0.0), steps=len(lesson.batches))
    own = compose(model)
    for batch, mask in zip(lesson.batches, lesson.masks, strict=True):
        wide = copy.deepcopy(model).double()
        exact = compose(wide)
        exact.state.optimizer.load_state_dict(
            own.state.optimizer.state_dict()
        )  # the schedule's rate is in it, and what is there gets wider
        moments: list[Moment] = []
        for net, one, dtype in ((wide, exact, np.float64), (model, own, lesson.dtype)):
            with torch_injected(net, mask):
                one.step(as_tensors(batch._replace(inputs=batch.inputs.astype(dtype))))
            moments.append(Moment(np.zeros(1), flatten(to_flax(net.state_dict())), {}))
        own.state.schedule.step()
        yield Step(compare_moments(moments[0], moments[1], lesson, BOUND), moments[0], moments[1])


def _errors(step: Step) -> tuple[float, float, float]:
    """Return a step's worst error of a parameter, of a statistic, and of a mean relative to its own norm."""
    parameters = max(d.error for d in step.differences if d.name.startswith("params/"))
    means = [d.error for d in step.differences if d.name.startswith("batch_stats/") and d.name.endswith("/mean")]
    return parameters, _statistics(step.reference.tensors, step.found.tensors), max(means, default=0.0)


def _statistics(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray]) -> float:
    """Return the worst error of a BatchNorm's statistics.

    A variance is judged by its own norm; a mean, which may be near zero, by the root mean square of what is averaged:
    it cannot be more exact than that is.
    """
    errors = [0.0]
    for path in ours:
        if path.startswith("batch_stats/") and path.endswith("/mean"):
            var = ours[f"{path.removesuffix('mean')}var"]
            errors.append(relative_error(ours[path], theirs[path], norm(np.sqrt(ours[path] ** 2 + var))))
        elif path.startswith("batch_stats/") and path.endswith("/var"):
            errors.append(relative_error(ours[path], theirs[path]))
    return max(errors)


class Flips:
    """Counts the ReLUs that decide otherwise on the two sides: an observer of `single_steps`."""

    def __init__(self, lesson: Lesson):
        self.last = self.total = self.activations = 0
        side = FlaxSide(lesson.flax_module, lesson.dtype)
        self._open = jax.jit(partial(_flax_open, side), compiler_options=QUICK_COMPILATION)

    @contextlib.contextmanager
    def __call__(self, variables: Any, inputs: np.ndarray, masks: Any) -> Iterator[None]:
        """Compare the ReLUs of the PyTorch step that is made inside with those of Flax, from the same weights."""
        with _torch_open() as ours:
            yield
        theirs = [np.asarray(opened) for opened in self._open(variables, inputs, masks)]
        if [a.shape for a in ours] != [b.shape for b in theirs]:
            raise RuntimeError(f"PyTorch has {len(ours)} ReLUs, Flax {len(theirs)} (or of other shapes)")
        self.last = sum(int((a != b).sum()) for a, b in zip(ours, theirs, strict=True))
        self.total += self.last
        self.activations += sum(a.size for a in ours)


@contextlib.contextmanager
def _torch_open() -> Iterator[list[np.ndarray]]:
    """Collect what each ReLU lets through, (N, ..., C)."""
    opened: list[np.ndarray] = []

    class Watch(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in RELUS:  # before it runs: it may work in place
                opened.append(channels_last((args[0].detach() > 0).numpy()))
            return func(*args, **(kwargs or {}))

    with Watch():
        yield opened


def _flax_open(side: FlaxSide, variables: Any, inputs: jax.Array, masks: Any) -> list[jax.Array]:
    def run(variables: Any, inputs: jax.Array) -> Any:
        mutable, rngs = ["batch_stats"], {"dropout": jax.random.key(0)}
        with injected(masks):
            return side.module.apply(variables, inputs, **mode(side.module, True), mutable=mutable, rngs=rngs)

    closed = jax.make_jaxpr(run)(variables, inputs)
    opened: list[jax.Array] = []
    _evaluate(closed, jax.tree.leaves((variables, inputs)), opened)
    return opened


def _evaluate(closed: ClosedJaxpr, values: Sequence[Any], opened: list[jax.Array]) -> list[Any]:
    """Evaluate a jaxpr; `jax.nn.relu` is a call of that name in it, and leaves what it lets through in `opened`."""
    jaxpr = closed.jaxpr
    known: dict[Any, Any] = dict(zip(jaxpr.constvars, closed.consts, strict=True))
    known |= dict(zip(jaxpr.invars, values, strict=True))
    for eqn in jaxpr.eqns:
        given = [atom.val if isinstance(atom, Literal) else known[atom] for atom in eqn.invars]
        inner = eqn.params.get("call_jaxpr", eqn.params.get("jaxpr"))
        relu = eqn.params.get("name") == "relu"
        if relu:
            opened.append(given[0] > 0)
        if eqn.primitive.name in CALLS and isinstance(inner, ClosedJaxpr):
            found = _evaluate(inner, given, [] if relu else opened)
        else:
            found = eqn.primitive.bind(*given, **eqn.params)
            found = found if eqn.primitive.multiple_results else [found]
        known |= dict(zip(eqn.outvars, found, strict=True))
    return [atom.val if isinstance(atom, Literal) else known[atom] for atom in jaxpr.outvars]
