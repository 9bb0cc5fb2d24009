"""Ctrl-C and SIGTERM: the first asks the training to stop and save, the second ends the process at once."""

import signal
from typing import Self

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SIGNALLED = 128  # a command that a signal ends exits with this plus its number: 130 Ctrl-C, 143 SIGTERM


class StopRequest:
    """Catches the first signal; used as a context, which restores the previous handlers.

    Attributes:
        signal: the number of the signal that was received, or 0.
    """

    def __init__(self) -> None:
        self.signal = 0

    def __enter__(self) -> Self:
        self._previous = {number: signal.signal(number, self._receive) for number in SIGNALS}
        return self

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _receive(self, number: int, *_: object) -> None:
        self.signal = number
        for other in SIGNALS:  # the next signal ends the process, even if a step hangs inside the framework
            signal.signal(other, signal.SIG_DFL)
