"""--profile: a trace of a few steps by the framework's own profiler."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Self

from rich.console import Console

from experiment.console import say

WAIT, STEPS = 5, 10  # steps before the trace, until compilation is over, and steps in it


class Profile:
    """Starts and stops a trace; used as a context, so that it also ends when the training is short.

    A short training is traced from its second step on, or from an earlier one than the sixth; one of a single step is
    traced with its compilation.
    """

    def __init__(
        self, trace: Callable[[Path], AbstractContextManager[None]], folder: Path, left: range, console: Console
    ):
        """Prepare to trace a training of which the steps `left`, by their numbers, are still to be done."""
        self._trace, self._folder, self._left, self._console = trace, folder, left, console
        self._stack, self._done = ExitStack(), left.start - 1
        self._from: int | None = None  # the step after which the trace has begun
        wait = max(1, min(WAIT, len(left) - STEPS)) if len(left) > 1 else 0
        self._start = self._done + wait  # the step after which the trace begins

    def __enter__(self) -> Self:
        if len(self._left) == 1:
            self._begin()
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()
        if self._from in (None, self._done) and not any(error):
            say(self._console, f"--profile has recorded nothing: {self._reason()}")

    def after(self, step: int, wait: Callable[[], object]) -> None:
        """Note that a step is done, and all before it (one call may do several); `wait` for it returns once it is."""
        self._done = step
        if self._from is None:
            if self._start <= step < self._left.stop - 1:
                wait()
                self._begin()
        elif step >= min(self._from + STEPS, self._left.stop - 1):
            wait()
            self._stack.close()

    def _begin(self) -> None:
        self._from = self._done
        self._folder.mkdir(exist_ok=True)
        self._stack.enter_context(self._trace(self._folder))

    def _reason(self) -> str:
        done = self._done - self._left.start + 1
        if not done:
            return "no step was left to do"
        if done < len(self._left):
            return f"the training ended after {done} of its steps, before the trace began"
        return f"the training did all its {done} steps in one call; give more --epochs, or --data-on host"
