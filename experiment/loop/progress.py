"""The progress bar of a training, on a terminal."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from experiment.console import shows_progress
from experiment.loop.metrics import shown


class ProgressBar:
    """Shows the epoch, the steps done, and the loss and accuracy so far; invisible unless `console` is a terminal."""

    def __init__(self, steps: int, epochs: int, console: Console):
        self._steps, self._epochs = steps, epochs
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}  {task.fields[text]}"),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not shows_progress(console),
        )
        self._task = self._bar.add_task("train", total=steps, epoch="", text="")

    def start(self) -> None:
        """Show the bar."""
        self._bar.start()

    def stop(self) -> None:
        """Remove the bar."""
        self._bar.stop()

    def begin(self, epoch: int) -> None:
        """Start at the first step of an epoch, counted from 0."""
        self._bar.reset(self._task, total=self._steps, epoch=f"{epoch + 1}/{self._epochs}", text="")

    def update(self, steps: int, loss: float | None, accuracy: float | None, rate: float) -> None:
        """Show how many steps are done, and the means so far; `rate` is examples per second."""
        text = f"loss {shown(loss, '.4f')}  accuracy {shown(accuracy, '.2%')}  {rate:,.0f} examples/s"
        self._bar.update(self._task, completed=steps, text=text)
