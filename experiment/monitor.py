"""What watches a training loop: clock, progress bar, Ctrl-C. The loop itself knows none of them."""

import signal
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, NamedTuple, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

REFRESH = 0.1  # seconds between two looks at the loss; each look waits for the device


class Epoch(NamedTuple):
    """What an epoch's steps came to, weighted by examples, not by batches (trap 25)."""

    loss: float
    accuracy: float
    examples: int
    steps: int
    seconds: float


class Monitor:
    """Collects the steps' metrics, shows them, and turns the first Ctrl-C into a request to stop.

    Used as a context; `begin` before an epoch, `step` after each batch, `end` after the epoch.
    """

    def __init__(self, steps: int, epochs: int, console: Console):
        self.stopped = False
        self._pending: list[tuple[int, Mapping[str, Any]]] = []
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
        self._old_handler = signal.signal(signal.SIGINT, self._interrupt)
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        signal.signal(signal.SIGINT, self._old_handler)

    def begin(self, epoch: int) -> None:
        """Start an epoch's clock."""
        self._loss, self._correct, self._examples, self._done = 0.0, 0, 0, 0
        self._bar.reset(self._task, total=self._steps, epoch=f"{epoch + 1}/{self._epochs}", text="")
        self._start = time.perf_counter()

    def step(self, examples: int, metrics: Mapping[str, Any]) -> bool:
        """Take a step's `loss` and `correct`, still on the device perhaps; return whether to stop."""
        self._pending.append((examples, metrics))
        if (now := time.perf_counter()) - self._looked > REFRESH:
            self._looked = now
            self._read()
            text = f"loss {self._loss / self._examples:.4f}  accuracy {self._correct / self._examples:.2%}"
            speed = self._examples / (time.perf_counter() - self._start)
            self._bar.update(self._task, completed=self._done, text=f"{text}  {speed:,.0f} examples/s")
        return self.stopped

    def end(self) -> Epoch:
        """Stop the epoch's clock, once the device has finished."""
        self._read()
        seconds = time.perf_counter() - self._start
        examples = max(self._examples, 1)
        return Epoch(self._loss / examples, self._correct / examples, self._examples, self._done, seconds)

    def _read(self) -> None:
        for examples, metrics in self._pending:
            self._loss += float(metrics["loss"]) * examples
            self._correct += int(metrics["correct"])
            self._examples += examples
        self._done += len(self._pending)
        self._pending.clear()

    def _interrupt(self, *_: object) -> None:
        if self.stopped:  # the second time, or the saving hangs: no more patience
            raise KeyboardInterrupt
        self.stopped = True
