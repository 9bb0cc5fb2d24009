"""The monitor of a training loop: it collects each step's metrics and tells the loop when to hand over its state.

The loop calls it once a step and knows nothing else: not the progress bar (`progress`), not Ctrl-C (`signals`), not
what happens after a step that is not finite (`not_finite`).
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from rich.console import Console

from experiment.loop.progress import ProgressBar
from experiment.loop.signals import StopRequest

REFRESH = 0.1  # seconds between two reads of the loss; each read waits for the device


class Epoch(NamedTuple):
    """The results of an epoch's steps, weighted by examples, not by batches (trap 25)."""

    loss: float
    accuracy: float
    examples: int
    steps: int
    seconds: float


class Counts(NamedTuple):
    """The sums over an epoch's steps so far; a resumed epoch continues from them."""

    loss: float = 0.0  # the sum over the examples
    correct: int = 0
    examples: int = 0
    steps: int = 0
    skipped: int = 0  # steps whose loss or gradients were not finite; they count in `steps` only
    seconds: float = 0.0


class BadStep(NamedTuple):
    """A step whose loss or gradients were not finite."""

    number: int  # of the epoch, from 0
    loss: float
    grad_norm: float


class Monitor:
    """Collects the steps' metrics, shows them, and turns the first Ctrl-C or SIGTERM into a request to stop.

    Used as a context; `begin` before an epoch, `step` after each batch, `end` after the epoch.

    Attributes:
        bad: the first step that was not finite, unless those are skipped.
    """

    def __init__(
        self,
        steps: int,
        epochs: int,
        console: Console,
        *,
        every: int = 0,
        skip: bool = False,
        watch: Callable[[int], None] | None = None,
        agree: Callable[[int, int], int] | None = None,
    ):
        """Monitor `epochs` epochs of `steps` steps.

        Args:
            steps: of an epoch.
            epochs: of the training.
            console: where the progress bar is shown.
            every: after how many steps of the training the loop hands over its state; 0 is never.
            skip: whether steps that are not finite are skipped, so that they change nothing.
            watch: called after each step with its number in the training.
            agree: called with that number and the signal that this process has received, or 0; returns the signal
                for which all processes stop now, or 0.
        """
        self._stopped, self.bad = 0, None
        self._every, self._skip, self._watch, self._agree = every, skip, watch, agree
        self._pending: list[tuple[int, int, Mapping[str, Any]]] = []  # examples and number of steps
        self._steps, self._looked = steps, 0.0
        self._bar, self._request = ProgressBar(steps, epochs, console), StopRequest()

    def __enter__(self) -> Self:
        self._request.__enter__()
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._request.__exit__()

    def begin(self, epoch: int, counts: Counts | None = None) -> None:
        """Start an epoch's clock; with `counts`, continue that epoch."""
        self._counts, self._epoch = counts or Counts(), epoch
        self._pending.clear()  # in processes that do not lead nobody has read them
        self._bar.begin(epoch)
        self._start = time.perf_counter() - self._counts.seconds

    def step(self, examples: int, metrics: Mapping[str, Any], steps: int = 1) -> bool:
        """Take a step's `loss`, `correct` and `grad_norm`, which may still be on the device; or (steps,) of several.

        Returns:
            Whether the loop must hand over its state now: to be saved, or because it must stop.
        """
        self._pending.append((examples, steps, metrics))
        number = self.done
        if self._watch:
            self._watch(number)
        if self._agree:
            self.stopped = self._agree(number, self._request.signal)
        if (now := time.perf_counter()) - self._looked > REFRESH:
            self._looked = now
            counts = self.read()
            shown = max(counts.examples, 1)
            self._bar.update(counts.steps, counts.loss / shown, counts.correct / shown, shown / counts.seconds)
        return bool(self.stopped or self.bad or (self._every and number % self._every == 0))

    def give_up(self) -> None:
        """Stop asking for the state of a training that has failed, as one of several that go on."""
        self.bad, self._skip = None, True

    @property
    def stopped(self) -> int:
        """The signal for which the training stops, or 0."""
        # One of several processes may not stop before the others, which would wait for it.
        return self._stopped or (0 if self._agree else self._request.signal)

    @stopped.setter
    def stopped(self, number: int) -> None:
        self._stopped = number

    @property
    def done(self) -> int:
        """How many steps of the training are done."""
        return self._epoch * self._steps + self._counts.steps + sum(steps for _, steps, _ in self._pending)

    def end(self) -> Epoch:
        """Stop the epoch's clock, once the device has finished."""
        counts = self.read()
        examples = max(counts.examples, 1)
        return Epoch(counts.loss / examples, counts.correct / examples, counts.examples, counts.steps, counts.seconds)

    def read(self) -> Counts:
        """Return the sums over the epoch so far, once the device has finished."""
        loss, correct, examples, steps, skipped, _ = self._counts
        for count, value, norm, right in self._each_step():
            if not math.isfinite(value + norm) and self._skip:
                skipped += 1
            else:
                if not math.isfinite(value + norm):
                    self.bad = self.bad or BadStep(steps, value, norm)
                loss, correct, examples = loss + value * count, correct + right, examples + count
            steps += 1
        self._pending.clear()
        self._counts = Counts(loss, correct, examples, steps, skipped, time.perf_counter() - self._start)
        return self._counts

    def _each_step(self) -> Iterator[tuple[int, float, float, int]]:
        """Yield examples, loss, gradient norm and number of correct answers of each step not yet read."""
        for count, steps, metrics in self._pending:
            losses, norms, rights = (metrics[name] for name in ("loss", "grad_norm", "correct"))
            if steps == 1:
                yield count, float(losses), float(norms), int(rights)
            else:
                for value, norm, right in zip(losses.tolist(), norms.tolist(), rights.tolist(), strict=True):
                    yield count, value, norm, right
