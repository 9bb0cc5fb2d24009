"""Ctrl-C, SIGTERM and a hang-up: the first asks the training to stop and save, the second ends the process at once."""

import signal
import threading
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def caught() -> list[signal.Signals]:
    """Return the signals that stop a training; under nohup, which lets a process ignore them, hang-ups do not."""
    return [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]


class StopRequest:
    """Catches the first signal; used as a context, which restores the previous handlers.

    Attributes:
        signal: the number of the signal that was received, or 0.
    """

    def __init__(self, *, catch: bool = True) -> None:
        """Catch signals, unless `catch` says not to, or this is not the main thread, which alone receives them."""
        self.signal, self._catch = 0, catch and threading.current_thread() is threading.main_thread()

    def __enter__(self) -> Self:
        numbers = caught() if self._catch else ()
        self._previous = {number: signal.signal(number, self._receive) for number in numbers}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, *_: object) -> None:
        self.signal = number
        for other in caught():  # the next signal ends the process, even if a step hangs inside the framework
            signal.signal(other, signal.SIG_DFL)
