"""Ctrl-C, SIGTERM and a hang-up: the first asks the training to stop and save, the second ends the process at once."""

import signal
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

    def __init__(self) -> None:
        self.signal = 0

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._receive) for number in caught()}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, *_: object) -> None:
        self.signal = number
        for other in caught():  # the next signal ends the process, even if a step hangs inside the framework
            signal.signal(other, signal.SIG_DFL)
