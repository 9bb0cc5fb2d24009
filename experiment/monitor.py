"""What watches a training loop: clock, progress bar, signals, bad numbers. The loop itself knows none of them."""

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

REFRESH = 0.1  # seconds between two looks at the loss; each look waits for the device
SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Epoch(NamedTuple):
    """What an epoch's steps came to, weighted by examples, not by batches (trap 25)."""

    loss: float
    accuracy: float
    examples: int
    steps: int
    seconds: float


class Counts(NamedTuple):
    """What an epoch's steps have come to so far: with this it can be gone on with."""

    loss: float = 0.0  # the sum over the examples
    correct: int = 0
    examples: int = 0
    steps: int = 0
    skipped: int = 0  # steps whose loss or gradients were not finite; they count in `steps` only
    seconds: float = 0.0


class BadStep(NamedTuple):
    """A step whose loss or gradients were no finite numbers."""

    number: int  # of the epoch, from 0
    loss: float
    grad_norm: float


class Monitor:
    """Collects the steps' metrics, shows them, and turns the first Ctrl-C or SIGTERM into a request to stop.

    Used as a context; `begin` before an epoch, `step` after each batch, `end` after the epoch. The second signal ends
    the process at once.

    Attributes:
        stopped: the signal that asked to stop, or 0.
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
        """`every` so many steps of the training the loop is to hand over its state; 0 never.

        `skip` says that steps that are not finite change nothing; `watch` is called after each step, with its number;
        `agree` with that and the signal that this process has got, and returns that which all processes stop for.
        """
        self.stopped, self.bad, self._asked = 0, None, 0
        self._every, self._skip, self._watch, self._agree = every, skip, watch, agree
        self._pending: list[tuple[int, int, Mapping[str, Any]]] = []  # examples and number of steps
        self._steps, self._epochs, self._looked = steps, epochs, 0.0
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}  {task.fields[text]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task("train", total=steps, epoch="", text="")

    def __enter__(self) -> Self:
        self._old = {number: signal.signal(number, self._interrupt) for number in SIGNALS}
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def begin(self, epoch: int, counts: Counts | None = None) -> None:
        """Start an epoch's clock; with `counts`, go on with it."""
        self._counts, self._epoch = counts or Counts(), epoch
        self._pending.clear()  # nobody has read them if other processes do the reading
        self._bar.reset(self._task, total=self._steps, epoch=f"{epoch + 1}/{self._epochs}", text="")
        self._start = time.perf_counter() - self._counts.seconds

    def step(self, examples: int, metrics: Mapping[str, Any], steps: int = 1) -> bool:
        """Take a step's `loss`, `correct` and `grad_norm`, still on the device perhaps; or those of several, (steps,).

        Returns:
            Whether the loop is to hand over its state now: to be saved, or since it is to stop.
        """
        self._pending.append((examples, steps, metrics))
        number = self.done
        if self._watch:
            self._watch(number)
        if self._agree:
            self.stopped = self._agree(number, self._asked)
        if (now := time.perf_counter()) - self._looked > REFRESH:
            self._looked = now
            counts = self.read()
            shown = max(counts.examples, 1)
            text = f"loss {counts.loss / shown:.4f}  accuracy {counts.correct / shown:.2%}"
            self._bar.update(
                self._task, completed=counts.steps, text=f"{text}  {shown / counts.seconds:,.0f} examples/s"
            )
        return bool(self.stopped or self.bad or (self._every and number % self._every == 0))

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
        """Return what the epoch has come to, once the device has finished."""
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
        """Yield examples, loss, norm of the gradients and how many were right, of each step not yet read."""
        for count, steps, metrics in self._pending:
            losses, norms, rights = (metrics[name] for name in ("loss", "grad_norm", "correct"))
            if steps == 1:
                yield count, float(losses), float(norms), int(rights)
            else:
                for value, norm, right in zip(losses.tolist(), norms.tolist(), rights.tolist(), strict=True):
                    yield count, value, norm, right

    def _interrupt(self, number: int, *_: object) -> None:
        if self._agree:  # no process may stop before the others do, which would wait for it
            self._asked = number
        else:
            self.stopped = number
        for other in SIGNALS:  # no more patience, even if a step hangs inside the framework
            signal.signal(other, signal.SIG_DFL)
