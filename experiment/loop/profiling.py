"""--profile: a trace of a few steps by the framework's own profiler."""

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Self

FIRST, STEPS = 6, 10  # counted from 1; compilation is over by then


class Profile:
    """Starts and stops a trace; used as a context, so that it also ends when the training is short."""

    def __init__(self, trace: Callable[[Path], AbstractContextManager[None]], folder: Path):
        self._trace, self._folder, self._stack, self._until = trace, folder, ExitStack(), 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    def after(self, step: int) -> None:
        """Note that a step is done, and all before it: several may be done in one call."""
        if not self._until and step >= FIRST - 1:
            self._until = step + STEPS
            self._folder.mkdir(exist_ok=True)
            self._stack.enter_context(self._trace(self._folder))
        elif self._until and step >= self._until:
            self._stack.close()
