"""The training check: the two trainers' own steps, on the same real batches, stay together for many steps.

It runs `jaxnets.compose.training`, the trainer's own composed step, and its twin, in float64 with weight decay,
L1 and a schedule on, and compares all that changes: losses, parameters, statistics, the optimizer's own state.

Some trainings are chaotic: RMSprop at a rate of 0.01 drives a plain MLP so hard that a difference of one rounding
grows tenfold every five steps, and PyTorch is then as far from *itself*, started one rounding away, as Flax is. A
free run can show nothing there. Only where PyTorch has just been shown to be chaotic in this way, each of the steps is
checked on its own instead, from PyTorch's state, with a bound ten times tighter; both figures are reported.

Adam and RMSprop divide each gradient by about its own size: where that is near epsilon, 1e-8, such a step enlarges a
rounding by lr / epsilon, a million. So a parameter that is a little too far off then is judged by what Flax's rule
makes of PyTorch's own gradient, and Flax's gradient by the optimizer's state, which it enters.
"""

import copy
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import islice
from typing import Any, NamedTuple, get_args, get_type_hints

import jax
import numpy as np
import optax
from flax import linen as nn
from torch import nn as torch_nn

import jaxnets.compose
import torchnets.compose
from data import Batch
from experiment.config import Config
from jaxnets.averaging import AveragedState, State
from jaxnets.gradient_transforms import split_params
from jaxnets.step import eval_step
from parity.copy import flatten, to_flax, unflatten
from parity.diagnose.update_rules import STEPS, explain_training
from parity.report import Failure, Result, Trajectory
from parity.report.compare import CHAOTIC, NUDGES, Difference, compare, difference, short, worst
from parity.sides.calls import Masks, channels_last
from parity.sides.compilation import QUICK_COMPILATION
from parity.sides.flax_hooks import injected as flax_injected
from parity.sides.flax_side import FlaxSide
from parity.sides.torch_hooks import injected as torch_injected
from parity.sides.torch_side import TorchSide, one_rounding_away
from parity.training.slots import flax_slots, torch_slots, with_slots
from torchnets.step import eval_step as torch_eval_step
from torchnets.tensors import as_tensor, as_tensors

AVERAGE = "average"  # before the path of what the moving average has
BOUND = 1e-10
ENLARGED = 1e-8  # what a rounding may become in one step; bugs are O(1e-3)
DIVIDING = ("adam", "adamw", "rmsprop", "muon")  # rules that divide a gradient by about its own size
# A step is as exact as its gradient, whose bound this is. In 100 steps of GoogLeNet and ResNet-50 it comes to 5e-12.
SINGLE_STEP_BOUND = 1e-11
# For Adam and AdamW PyTorch's default. At 0.01 the larger networks, GoogLeNet after four steps, are chaotic.
LEARNING_RATES = {"adam": 1e-3, "adamw": 1e-3, "muon": 1e-3}
LEARNING_RATE, WEIGHT_DECAY, L1 = 0.01, 1e-3, 1e-5
OPTIMIZERS: tuple[str, ...] = get_args(get_type_hints(Config)["optimizer"])
# Each schedule and each loss is met by some optimizer. The pairing was made after measuring: under "cosine" AdamW
# came to 1.8e-10 in one run of nine, and RMSprop is least chaotic under "step".
SCHEDULES = {"momentum": "warmup-cosine", "nesterov": "onecycle", "adamw": "warmup-cosine", "rmsprop": "step"}


_logits_of = jax.jit(eval_step, static_argnames="model", compiler_options=QUICK_COMPILATION)


Observer = Callable[[Any, np.ndarray, Masks], AbstractContextManager[None]]


def _nobody(*_: Any) -> AbstractContextManager[None]:
    return nullcontext()


class Moment(NamedTuple):
    """All that a training has changed so far, by Flax's path and layout."""

    losses: np.ndarray  # (steps,)
    tensors: dict[str, np.ndarray]  # parameters, statistics
    slots: dict[str, np.ndarray]  # the optimizer's
    outputs: np.ndarray | None = None  # of the last batch, in evaluation mode


class Step(NamedTuple):
    """One step of both sides from PyTorch's state, and how far apart they have come."""

    differences: list[Difference]
    reference: Moment
    found: Moment


class Lesson(NamedTuple):
    """What both sides are taught, and by which recipe."""

    torch_module: torch_nn.Module
    flax_module: nn.Module
    batches: Sequence[Batch]
    masks: Sequence[Masks]  # of dropout, new ones for every step
    config: Config
    zeros: Collection[str] = ()  # tensors whose true gradient is zero
    dtype: type[np.floating] = np.float64


# What else is on, each with some optimizer. The limit is below what the networks' gradients are at the start.
OPTIONS: dict[str, dict[str, Any]] = {
    "momentum": {"clip_norm": 0.5, "ema": 0.9},
    "nesterov": {"label_smoothing": 0.1, "ema": 0.9},
    "adam": {"label_smoothing": 0.1, "decay_weights_only": True},
    "adamw": {"clip_norm": 0.5, "decay_weights_only": True},
}


def recipe(optimizer: str) -> Config:
    """Return a training that has everything on that goes with an optimizer."""
    return Config(
        optimizer=optimizer,  # pyright: ignore[reportArgumentType]  # one of OPTIMIZERS
        lr=LEARNING_RATES.get(optimizer, LEARNING_RATE),
        weight_decay=WEIGHT_DECAY,
        l1=L1,
        schedule=SCHEDULES.get(optimizer, "cosine"),  # pyright: ignore[reportArgumentType]  # one of TABLES
        loss=("cross-entropy", "bce")[OPTIMIZERS.index(optimizer) % 2],
        **OPTIONS.get(optimizer, {}),
    )


def check_trajectory(
    torch_module: torch_nn.Module,
    flax_module: nn.Module,
    batches: Sequence[Batch],
    optimizer: str,
    *,
    zeros: Collection[str] = (),
    seed: int = 0,
) -> Result:
    """Train both modules from the same weights on the same batches, one step each, and compare where they end.

    Args:
        torch_module: the reference; it is copied.
        flax_module: its twin.
        batches: images (N, ..., C) float64 and labels; all of one size.
        optimizer: its name in `Config`.
        zeros: tensors whose true gradient is zero.
        seed: of the dropout masks and of the one rounding that tests the reference for chaos.
    """
    masks = draw_masks(torch_module, batches, seed)
    lesson = Lesson(torch_module, flax_module, batches, masks, recipe(optimizer), zeros)
    reference, found, trajectory = train_both(lesson)
    free = compare_moments(reference, found, lesson, BOUND)
    check, note = f"trajectory {optimizer}", f"{len(batches)} steps, {lesson.config.schedule}, {lesson.config.loss}"
    top = worst(free)
    if top.ok:
        return Result(check, top.error, top.bound, short(top.name), note, trajectory=trajectory)
    wide = copy.deepcopy(torch_module).double()
    nudged = [lesson._replace(torch_module=one_rounding_away(wide, seed + i)) for i in range(NUDGES)]
    itself = worst([worst(compare_moments(reference, train_torch(other), lesson, BOUND)) for other in nudged])
    steps = [step.differences for step in single_steps(lesson, by_rule=True)]
    single = worst([d for differences in steps for d in differences])
    note += f"; free running {top.error:.1e}, PyTorch from itself {itself.error:.1e} by one rounding"
    if itself.severity > CHAOTIC and single.ok:
        note = f"each step from PyTorch's state: {note}"
        return Result(check, single.error, single.bound, short(single.name), note, trajectory=trajectory)
    # The first wrong step, and in it what is computed first: the loss, the optimizer's state, the parameters.
    bad = next((d for differences in steps for d in differences if not d.ok), top)
    apart = np.flatnonzero(~(np.abs(found.losses - reference.losses) <= BOUND * np.abs(reference.losses)))
    first = f"the losses part at step {apart[0] + 1}" if len(apart) else "the losses agree at every step"
    looks_like = imitated(lesson)
    diagnosis = (
        f"{looks_like + ': ' if looks_like else ''}{bad.detail}, {bad.error:.1e} off; after {note}, "
        f"{sum(not d.ok for d in free)} tensors differ; {first}"
    )
    failure = Failure(check, "optimizer", bad.name, bad.error, bad.bound, diagnosis)
    failure = failure._replace(values=bad.values, cause=looks_like)
    return Result(check, top.error, top.bound, short(top.name), note, failure, trajectory)


def imitated(lesson: Lesson) -> str:
    """Say by which habit Flax's training is another one, if PyTorch with that habit ends where Flax does."""
    with FlaxSide(lesson.flax_module, np.float64).precision():
        steps = list(islice(_flax_steps(lesson), STEPS))
        params = flatten({"params": steps[-1][1].variables["params"]})
    return explain_training(lesson, params, np.array([loss for loss, _ in steps]))


def train_torch(lesson: Lesson) -> Moment:
    """Run PyTorch's side; return where it ends."""
    steps = list(_torch_steps(lesson))
    losses, (_, model, read) = [loss for loss, _, _ in steps], steps[-1]
    return _torch_end(lesson, losses, model, read)


def train_both(lesson: Lesson) -> tuple[Moment, Moment, Trajectory]:
    """Run both sides from PyTorch's weights, step by step; return where they end and how far apart each step is."""
    steps, end = [], None
    with FlaxSide(lesson.flax_module, np.float64).precision():
        for (loss, model, read), (flax_loss, state) in zip(_torch_steps(lesson), _flax_steps(lesson), strict=True):
            steps.append((loss, flax_loss, _distance(model, state)))
            end = model, read, state
        if end is None:
            raise ValueError("no batch to train on")
        (model, read, state), trajectory = end, Trajectory(*zip(*steps, strict=True))
        outputs = np.asarray(_logits_of(lesson.flax_module, state.variables, lesson.batches[-1].inputs))
        found = _flax_moment(state)._replace(losses=np.array(trajectory.jax), outputs=outputs)
        return _torch_end(lesson, trajectory.torch, model, read), found, trajectory


def _torch_end(lesson: Lesson, losses: Sequence[float], model: torch_nn.Module, read: Callable[[], Moment]) -> Moment:
    images = as_tensor(lesson.batches[-1].inputs)
    outputs = channels_last(torch_eval_step(model, model.state_dict(), images).numpy())
    return read()._replace(losses=np.array(losses), outputs=outputs)


def _distance(model: torch_nn.Module, state: State) -> float:
    """Return the distance of all parameters together, relative to PyTorch's."""
    ours = flatten({"params": to_flax(model.state_dict())["params"]})
    theirs = flatten({"params": state.variables["params"]})
    squares = [(np.sum((theirs[name] - one) ** 2), np.sum(one**2)) for name, one in ours.items()]
    difference, norm = np.sqrt(np.sum(squares, 0))
    return float(difference / norm)


def _flax_moment(state: State) -> Moment:
    average = flatten({AVERAGE: state.average}) if isinstance(state, AveragedState) else {}
    return Moment(np.zeros(0), flatten(state.variables) | average, flax_slots(state.opt_state))


def single_steps(lesson: Lesson, observe: Observer = _nobody, *, by_rule: bool = False) -> Iterator[Step]:
    """Yield how far each of Flax's steps ends from PyTorch's, both having started from PyTorch's state.

    PyTorch's step is made inside of `observe(variables, inputs, masks)`, of what Flax's will start from. With
    `by_rule`, parameters that are a little too far off are judged by Flax's rule and PyTorch's gradient.
    """
    with FlaxSide(lesson.flax_module, lesson.dtype).precision():
        state, step = _flax_start(lesson)
        rule = _flax_rule(lesson)
        torch_steps = _torch_steps(lesson)
        for at in range(len(lesson.batches)):
            with observe(state.variables, lesson.batches[at].inputs, lesson.masks[at]):
                loss, model, read = next(torch_steps)
            reference = read()._replace(losses=np.array([loss]))
            state_before = state
            state, metrics = step(state, lesson.batches[at], lesson.masks[at])
            found = _flax_moment(state)._replace(losses=np.array([float(metrics["loss"])]))
            differences = compare_moments(reference, found, lesson, SINGLE_STEP_BOUND)
            if by_rule and lesson.config.optimizer in DIVIDING and not all(d.ok for d in differences):
                ruled = found._replace(tensors=found.tensors | rule(state_before, model))
                again = compare_moments(reference, ruled, lesson, SINGLE_STEP_BOUND)
                pairs = zip(differences, again, strict=True)
                differences = [b if SINGLE_STEP_BOUND < a.error <= ENLARGED else a for a, b in pairs]
            yield Step([d._replace(detail=f"step {at + 1}, {d.detail}") for d in differences], reference, found)
            variables = unflatten(reference.tensors)
            average = {"average": variables.pop(AVERAGE)} if AVERAGE in variables else {}
            opt_state = with_slots(state.opt_state, reference.slots)
            state = state._replace(variables=variables, opt_state=opt_state, **average)


def compare_moments(reference: Moment, found: Moment, lesson: Lesson, bound: float) -> list[Difference]:
    """Compare all that two trainings have changed.

    A tensor whose true gradient is zero moves by rounding alone, and its optimizer state is nothing else: they are
    judged against all parameters, or all slots of their kind, together (trap 28).
    """
    differences = [difference("loss", reference.losses, found.losses, bound)]
    for ours, theirs in ((reference.slots, found.slots), (reference.tensors, found.tensors)):
        for kind in dict.fromkeys(name.partition("/")[0] for name in (*ours, *theirs)):
            some, others = (_of_kind(tensors, kind) for tensors in (ours, theirs))
            zeros = {name for name in some if name in lesson.zeros or name.partition("/")[2] in lesson.zeros}
            differences += compare(some, others, bound, zeros=zeros)
    if reference.outputs is not None and found.outputs is not None:
        differences.append(difference("eval output", reference.outputs, found.outputs, bound))
    return differences


def _of_kind(tensors: dict[str, np.ndarray], kind: str) -> dict[str, np.ndarray]:
    return {name: tensor for name, tensor in tensors.items() if name.partition("/")[0] == kind}


def draw_masks(module: torch_nn.Module, batches: Sequence[Batch], seed: int) -> list[Masks]:
    """Draw the masks of every dropout layer for every step."""
    sites = TorchSide(module, np.float64).sites(batches[0].inputs)
    rng = np.random.default_rng([seed, 3])
    return [{name: rng.random(site.shape) >= site.rate for name, site in sites.items()} for _ in batches]


def _torch_steps(lesson: Lesson) -> Iterator[tuple[float, torch_nn.Module, Callable[[], Moment]]]:
    """Yield after each step its loss, the module, and a function that reads all else that it has come to."""
    model, config = TorchSide(lesson.torch_module, lesson.dtype).module, lesson.config
    (_, optimizer, schedule, average), step = torchnets.compose.training(model, config, len(lesson.batches))

    def read() -> Moment:
        tensors = flatten(to_flax(model.state_dict()))
        kept = flatten({AVERAGE: to_flax(average.module.state_dict())}) if average else {}
        return Moment(np.zeros(0), tensors | kept, torch_slots(model, optimizer, schedule.last_epoch))

    for batch, mask in zip(lesson.batches, lesson.masks, strict=True):
        with torch_injected(model, mask):
            metrics = step(as_tensors(batch._replace(inputs=batch.inputs.astype(lesson.dtype))))
        schedule.step()
        yield float(metrics["loss"]), model, read


def _flax_steps(lesson: Lesson) -> Iterator[tuple[float, State]]:
    """Yield after each step its loss and the state."""
    state, step = _flax_start(lesson)
    for batch, mask in zip(lesson.batches, lesson.masks, strict=True):
        state, metrics = step(state, batch, mask)
        yield float(metrics["loss"]), state


def _flax_rule(lesson: Lesson) -> Callable[[State, torch_nn.Module], dict[str, np.ndarray]]:
    """Return what Flax's rule makes of (its state before a step, PyTorch's module after it): parameters by path."""
    # PyTorch's gradient has been clipped already.
    tx = jaxnets.compose.update_rule(lesson.flax_module, lesson.config, len(lesson.batches), clipped=True)

    @jax.jit
    def update(grads: Any, opt_state: Any, params: Any) -> Any:
        return optax.apply_updates(params, tx.update(grads, opt_state, params)[0])

    def rule(state: State, model: torch_nn.Module) -> dict[str, np.ndarray]:
        grads = to_flax({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
        params = state.variables["params"]
        trained, frozen = split_params(lesson.flax_module, params)
        zeros = jax.tree.map(np.zeros_like, frozen)
        after = update({**zeros, **grads["params"]}, state.opt_state, params)
        return flatten({"params": {name: after[name] for name in trained}})

    return rule


def _flax_start(lesson: Lesson) -> tuple[State, Any]:
    """Return the state with PyTorch's first weights, and the jitted step (state, batch, masks)."""
    config = lesson.config
    init, train = jaxnets.compose.training(lesson.flax_module, config, len(lesson.batches))

    def masked(state: Any, batch: Batch, masks: Masks) -> Any:
        with flax_injected(masks):
            return train(state, batch)

    variables = unflatten(TorchSide(lesson.torch_module, lesson.dtype).variables())
    return init(variables, config.seed), jax.jit(masked, compiler_options=QUICK_COMPILATION)
