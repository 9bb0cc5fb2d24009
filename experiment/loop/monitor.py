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
    """The results of an epoch's steps, weighted by examples, not by batches (trap 25).

    Where every step was skipped there are no examples, and no means.
    """

    loss: float | None
    accuracy: float | None
    examples: int
    steps: int
    seconds: float


class Counts(NamedTuple):
    """The sums over an epoch's steps so far; a resumed epoch continues from them."""

    loss: float = 0.0  # the sum over the examples
    correct: int = 0
    examples: int = 0
    steps: int = 0
    skipped: int = 0  # steps that were not finite and changed nothing; they count in `steps` only
    seconds: float = 0.0

    def means(self) -> tuple[float | None, float | None]:
        """Return the mean loss and the accuracy over the examples so far; None where there are none."""
        return (self.loss / self.examples, self.correct / self.examples) if self.examples else (None, None)


class StepMetrics(NamedTuple):
    """A step's loss and the norm of its gradients."""

    number: int  # of the epoch, from 0
    loss: float
    grad_norm: float


class Monitor:
    """Collects the steps' metrics, shows them, and turns the first Ctrl-C or SIGTERM into a request to stop.

    Used as a context; `begin` before an epoch, `step` after each batch, `end` after the epoch.

    Attributes:
        stopped: the signal for which the training stops after the latest step, or 0; one of several processes may not
            stop before the others, which would wait for it.
        latest: the step that was read last.
        bad: the first step whose loss or gradients were not finite, unless those are skipped.
    """

    def __init__(
        self,
        steps: int,
        epochs: int,
        console: Console,
        *,
        every: int = 0,
        skip: bool = False,
        watch: Callable[[int, Callable[[], object]], None] | None = None,
        agree: Callable[[int, int], int] | None = None,
        catch: bool = True,
    ):
        """Monitor `epochs` epochs of `steps` steps.

        Args:
            steps: of an epoch.
            epochs: of the training.
            console: where the progress bar is shown.
            every: after how many steps of the training the loop hands over its state; 0 is never.
            skip: whether steps that are not finite are skipped, so that they change nothing.
            watch: called after each step with its number in the training, and with what waits until it has finished.
            agree: called with that number and the signal that this process has received, or 0; returns the signal
                for which all processes stop now, or 0.
            catch: whether signals are caught.
        """
        self.stopped = 0
        self.bad: StepMetrics | None = None
        self.latest = StepMetrics(-1, math.nan, math.nan)
        self._every, self._skip, self._watch, self._agree = every, skip, watch, agree
        self._pending: list[tuple[int, int, Mapping[str, Any]]] = []  # examples and number of steps
        self._steps, self._looked = steps, 0.0
        self._bar, self._request = ProgressBar(steps, epochs, console), StopRequest(catch=catch)

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

        Where steps can be skipped, `skipped` says whether this one was.

        Returns:
            Whether the loop must hand over its state now: to be saved, or because it must stop.
        """
        self._pending.append((examples, steps, metrics))
        number = self.done
        if self._watch:
            self._watch(number, self.read)
        # Looked at here alone: whoever is asked before the next step gets the same answer.
        self.stopped = self._agree(number, self._request.signal) if self._agree else self._request.signal
        if (now := time.perf_counter()) - self._looked > REFRESH:
            self._looked = now
            counts = self.read()
            self._bar.update(counts.steps, *counts.means(), counts.examples / counts.seconds)
        return bool(self.stopped or self.bad or (self._every and number % self._every == 0))

    def give_up(self) -> None:
        """Stop asking for the state of a training that has failed, as one of several that go on."""
        self.bad, self._skip = None, True

    @property
    def received(self) -> int:
        """The signal that this process has received by now, or 0."""
        return self._request.signal

    @property
    def done(self) -> int:
        """How many steps of the training are done."""
        return self._epoch * self._steps + self._counts.steps + sum(steps for _, steps, _ in self._pending)

    def end(self) -> Epoch:
        """Stop the epoch's clock, once the device has finished."""
        counts = self.read()
        return Epoch(*counts.means(), counts.examples, counts.steps, counts.seconds)

    def read(self) -> Counts:
        """Return the sums over the epoch so far, once the device has finished."""
        loss, correct, examples, steps, skipped, _ = self._counts
        for count, value, norm, right, left_out in self._each_step():
            self.latest = StepMetrics(steps, value, norm)
            is_finite = math.isfinite(value) and math.isfinite(norm)
            if left_out or (self._skip and not is_finite):
                skipped += 1
            else:
                if not is_finite:
                    self.bad = self.bad or self.latest
                loss, correct, examples = loss + value * count, correct + right, examples + count
            steps += 1
        self._pending.clear()
        self._counts = Counts(loss, correct, examples, steps, skipped, time.perf_counter() - self._start)
        return self._counts

    def _each_step(self) -> Iterator[tuple[int, float, float, int, bool]]:
        """Yield examples, loss, gradient norm, number of correct answers, and whether it was skipped, by step."""
        for count, steps, metrics in self._pending:
            values = [metrics[name] for name in ("loss", "grad_norm", "correct")]
            left_out = metrics.get("skipped")
            if steps == 1:
                loss, norm, right = values
                yield count, float(loss), float(norm), int(right), left_out is not None and bool(int(left_out))
            else:
                skips = [False] * steps if left_out is None else left_out.tolist()
                for loss, norm, right, skip in zip(*(value.tolist() for value in values), skips, strict=True):
                    yield count, loss, norm, right, skip
