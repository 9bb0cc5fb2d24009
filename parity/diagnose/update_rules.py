"""What a wrong training looks like: PyTorch is made to train with one habit changed, until it ends where Flax does."""

import copy
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional

import torchnets.losses
from experiment.loop.schedules import factors
from parity.copy import flatten, to_flax
from parity.diagnose.one_layer import same
from parity.sides.torch_hooks import injected
from torchnets.muon import follow, orthogonal
from torchnets.tensors import as_tensors

STEPS = 4  # what is imitated: more than momentum and bias correction need to show


class Habits(NamedTuple):
    """All that an update rule may do in one way or another; the defaults are PyTorch's."""

    nesterov: bool = False
    muon_scale: str = "rms"  # what Muon's directions are multiplied by, rms or width
    momentum_corrected: bool = False  # Muon's for its start at zero, as optax does
    dampening: float = 0.0
    first_buffer_dampened: bool = False  # the first step, too
    rate_in_buffer: bool = False  # the rate multiplies what enters the momentum buffer
    coupled: bool = True  # decay is added to the gradient; else to the update
    decay: float = 0.0
    undecayed_rank: int = -1  # tensors of this rank and below are not decayed
    decay_rate: str = "scheduled"  # what decoupled decay is multiplied by: the rate, its peak, or nothing
    betas: tuple[float, float] = (0.9, 0.999)
    corrected: bool = True  # Adam's moments for their start at zero
    eps: float = 1e-8
    eps_inside: bool = False  # the square root
    alpha: float = 0.99  # RMSprop's
    shift: int = 0  # of the schedule, in steps
    constant: bool = False  # no schedule at all
    loss: str = ""  # one of LOSSES, or the recipe's own
    smoothing: float = 0.0  # of labels
    l1: str = "sign"  # its gradient, with that of 0 being 0
    clip_norm: float = 0.0  # 0: the gradients are not clipped
    clip_epsilon: float = 1e-6  # added to their norm


LOSSES: dict[str, Callable[..., torch.Tensor]] = {
    "the loss is summed over the batch": lambda logits, labels, smoothing: functional.cross_entropy(
        logits, labels, reduction="sum", label_smoothing=smoothing
    ),
    "the binary loss is summed over the classes": lambda *given: _binary(*given).sum(1).mean(),
    "the binary loss is summed over batch and classes": lambda *given: _binary(*given).sum(),
    "the loss is the binary one": lambda *given: _binary(*given).mean(),
    "the loss is softmax cross-entropy": torchnets.losses.cross_entropy,
    "the labels are one off": lambda logits, labels, smoothing: torchnets.losses.cross_entropy(
        logits, (labels + 1) % logits.shape[1], smoothing
    ),
}


def _binary(logits: torch.Tensor, labels: torch.Tensor, smoothing: float) -> torch.Tensor:
    targets = torchnets.losses.as_targets(labels, logits, smoothing)
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def explain_training(lesson: Any, params: dict[str, np.ndarray], losses: np.ndarray) -> str:
    """Say with which habit PyTorch trains as Flax did, or nothing if none of them leads there.

    Args:
        lesson: what both were taught (`parity.training.trajectory.Lesson`).
        params: Flax's parameters, by path, after STEPS steps or all there are.
        losses: Flax's losses of these steps.
    """
    own = _own(lesson.config)
    # First PyTorch's own: where that leads there, it is another rounding and no habit.
    for words, habits in [("", own), *_changes(lesson.config, own)]:
        found = train(lesson, habits, len(losses))
        if found is not None and same(found[1], losses) and all(same(found[0][name], params[name]) for name in params):
            return words
    return ""


def _own(config: Any) -> Habits:
    return Habits(
        nesterov=config.optimizer in ("nesterov", "muon"),
        coupled=config.optimizer not in ("adamw", "muon"),
        decay=config.weight_decay,
        undecayed_rank=1 if config.decay_weights_only else -1,
        clip_norm=config.clip_norm,
        smoothing=config.label_smoothing,
    )


def _changes(config: Any, own: Habits) -> Iterator[tuple[str, Habits]]:
    yield from _single_changes(config, own)
    if config.decay_weights_only:  # an update rule put together otherwise easily lacks that, too
        for words, habits in _single_changes(config, own):
            yield f"{words}, and weight decay does not skip biases and norms", habits._replace(undecayed_rank=-1)


def _single_changes(config: Any, own: Habits) -> Iterator[tuple[str, Habits]]:
    kind = config.optimizer
    if config.label_smoothing:
        yield "the labels are not smoothed (trap 18)", own._replace(smoothing=0.0)
    else:
        yield "the loss has label smoothing, 0.1 (trap 18)", own._replace(smoothing=0.1)
    for name in LOSSES:
        yield f"{name} (trap 18)", own._replace(loss=name)
    yield "the gradient of L1 at 0 is 1", own._replace(l1="one at zero")
    yield "L1 is left out", own._replace(l1="none")
    for shift in (1, -1):
        yield f"the schedule is {'ahead' if shift > 0 else 'behind'} by one step (trap 16)", own._replace(shift=shift)
    yield "the rate is constant: there is no schedule (trap 16)", own._replace(constant=True)
    yield "weight decay is left out (trap 13)", own._replace(decay=0.0)
    if own.undecayed_rank < 0:
        yield "weight decay skips biases and norms (trap 13)", own._replace(undecayed_rank=1)
    else:
        yield "weight decay does not skip biases and norms (trap 13)", own._replace(undecayed_rank=-1)
    if own.clip_norm:
        yield "the gradients are not clipped", own._replace(clip_norm=0.0)
        yield "nothing is added to the norm that gradients are clipped by (trap 30)", own._replace(clip_epsilon=0.0)
    coupling = "decoupled from the gradient" if own.coupled else "added to the gradient"
    yield f"weight decay is {coupling} (trap 13)", own._replace(coupled=not own.coupled)
    for rate, words in (
        ("none", "not multiplied by the rate"),
        ("peak", "multiplied by the peak rate, not the schedule's"),
    ):
        yield f"weight decay is decoupled, and {words} (trap 13)", own._replace(coupled=False, decay_rate=rate)
    for decay in (1e-4, 1e-2, config.weight_decay / 2, config.weight_decay * 2):
        yield (
            f"weight decay is {decay:g} where PyTorch has {config.weight_decay:g} (trap 13)",
            own._replace(decay=decay),
        )
    if kind in ("sgd", "momentum", "nesterov"):
        yield from _of_momentum(kind, own)
    elif kind == "muon":
        yield "momentum is the plain one, not Nesterov's (trap 15)", own._replace(nesterov=False)
        yield "momentum is corrected for its start at zero (trap 33)", own._replace(momentum_corrected=True)
        yield "directions are as large as their shape's ratio, not as Adam's", own._replace(muon_scale="width")
    else:
        yield from _of_moments(kind, own)


def _of_momentum(kind: str, own: Habits) -> Iterator[tuple[str, Habits]]:
    if kind == "sgd":
        return
    form = "Nesterov's" if kind == "momentum" else "the plain one"
    yield f"momentum is {form} (trap 15)", own._replace(nesterov=not own.nesterov)
    yield "the rate multiplies what enters the momentum buffer (trap 15)", own._replace(rate_in_buffer=True)
    dampened = own._replace(dampening=0.9)
    yield "momentum is dampened (trap 15)", dampened
    yield "momentum is dampened, in the first step, too (trap 15)", dampened._replace(first_buffer_dampened=True)


def _of_moments(kind: str, own: Habits) -> Iterator[tuple[str, Habits]]:
    for eps in (1e-7, 1e-6, 1e-5, 1e-3, 1e-10, 0.0, own.eps):
        for inside in (False, True):
            if (eps, inside) != (own.eps, own.eps_inside):
                place = "inside" if inside else "outside"
                yield (
                    f"epsilon is {eps:g}, {place} the square root (trap 14)",
                    own._replace(eps=eps, eps_inside=inside),
                )
    if kind == "rmsprop":
        for alpha in (0.9, 0.95, 0.999):
            for inside in (False, True):
                words = f"the share of the old square is {alpha:g} where PyTorch has {own.alpha:g}"
                words += ", epsilon is inside the square root" if inside else ""
                yield f"{words} (trap 14)", own._replace(alpha=alpha, eps_inside=inside)
    else:
        yield "the moments are not corrected for their start at zero", own._replace(corrected=False)
        for betas in ((0.9, 0.99), (0.9, 0.98), (0.9, 0.95), (0.5, 0.999)):
            yield f"the betas are {betas} where PyTorch has {own.betas}", own._replace(betas=betas)


def train(lesson: Any, habits: Habits, steps: int) -> tuple[dict[str, np.ndarray], np.ndarray] | None:
    """Train PyTorch's module with these habits; return parameters by path and losses; None if they diverge."""
    config, model = lesson.config, copy.deepcopy(lesson.torch_module).double()
    names = {name: p for name, p in model.named_parameters() if p.requires_grad}
    loss = LOSSES[habits.loss] if habits.loss else torchnets.losses.LOSSES[config.loss]
    table = np.ones(len(lesson.batches)) if habits.constant else factors(config.schedule, len(lesson.batches))
    rule, losses = Rule(habits, config, list(names.values())), []
    for step, (batch, mask) in enumerate(zip(lesson.batches[:steps], lesson.masks[:steps], strict=True)):
        inputs, labels = as_tensors(batch)
        with injected(model.train(), mask):
            value = loss(model(inputs), labels, habits.smoothing)
        grads = torch.autograd.grad(value, list(names.values()), allow_unused=True)
        rate = config.lr * float(table[(step + habits.shift) % len(table)])
        pairs = zip(names.values(), grads, strict=True)
        rule.step(_with_l1_and_clipped([(p, torch.zeros_like(p) if g is None else g) for p, g in pairs], rule), rate)
        losses.append(value.item())
        if not np.isfinite(losses[-1]):
            return None
    return flatten({"params": to_flax({name: p.detach() for name, p in names.items()})["params"]}), np.array(losses)


@torch.no_grad()
def _with_l1_and_clipped(pairs: list[tuple[torch.Tensor, torch.Tensor]], rule: "Rule") -> list[torch.Tensor]:
    """Return the gradients of (parameter, gradient) as the update rule is given them."""
    h, grads = rule.habits, []
    for p, g in pairs:
        sign = torch.where(p >= 0, 1.0, -1.0) if h.l1 == "one at zero" else p.sign()
        grads.append(g if h.l1 == "none" else g + rule.config.l1 * sign)
    if not h.clip_norm:
        return grads
    norm = torch.stack([g.norm() for g in grads]).norm()
    return [g * (h.clip_norm / (norm + h.clip_epsilon)).clamp(max=1.0) for g in grads]


class Rule:
    """The update rules of both frameworks in one, so that each habit can be changed alone."""

    def __init__(self, habits: Habits, config: Any, params: list[torch.Tensor]):
        self.habits, self.config, self.params = habits, config, params
        self.first = [torch.zeros_like(p) for p in params]
        self.second = [torch.zeros_like(p) for p in params]
        self.count = 0

    @torch.no_grad()
    def step(self, grads: list[torch.Tensor], rate: float) -> None:
        """Update the parameters in place."""
        h = self.habits
        self.count += 1
        for i, (p, g) in enumerate(zip(self.params, grads, strict=True)):
            decay = h.decay if p.ndim > h.undecayed_rank else 0.0
            update = self._update(i, g + decay * p if h.coupled else g, rate)
            if not h.coupled:
                update = update + decay * p * {"scheduled": rate, "peak": self.config.lr, "none": 1.0}[h.decay_rate]
            p -= update

    def _update(self, i: int, g: torch.Tensor, rate: float) -> torch.Tensor:
        h, kind = self.habits, self.config.optimizer
        if kind == "sgd":
            return rate * g
        if kind in ("momentum", "nesterov"):
            m, dampened = self.config.momentum, self.count > 1 or h.first_buffer_dampened
            entering = g * (1 - h.dampening) if dampened else g
            entering = entering * rate if h.rate_in_buffer else entering
            self.first[i] = m * self.first[i] + entering
            update = entering + m * self.first[i] if h.nesterov else self.first[i]
            return update if h.rate_in_buffer else rate * update
        if kind == "muon" and g.ndim > 1:
            return rate * self._direction(i, g)
        if kind == "rmsprop":
            self.second[i] = h.alpha * self.second[i] + (1 - h.alpha) * g**2
            return rate * g / self._root(self.second[i])
        (b1, b2), n = h.betas, self.count if h.corrected else 10**9
        self.first[i] = b1 * self.first[i] + (1 - b1) * g
        self.second[i] = b2 * self.second[i] + (1 - b2) * g**2
        return rate * self.first[i] / (1 - b1**n) / self._root(self.second[i] / (1 - b2**n))

    def _direction(self, i: int, g: torch.Tensor) -> torch.Tensor:
        h, m = self.habits, self.config.momentum
        self.first[i] = m * self.first[i] + g
        now, ahead = (1 - m**n if h.momentum_corrected else 1 for n in (self.count, self.count + 1))
        update = g / now + m * self.first[i] / ahead if h.nesterov else self.first[i]
        if h.muon_scale == "rms":
            return follow(update)
        matrix = update.reshape(len(update), -1)
        return (orthogonal(matrix) * max(1, matrix.shape[0] / matrix.shape[1]) ** 0.5).reshape(update.shape)

    def _root(self, square: torch.Tensor) -> torch.Tensor:
        eps = self.habits.eps
        return torch.sqrt(square + eps) if self.habits.eps_inside else torch.sqrt(square) + eps
