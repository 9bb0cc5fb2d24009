"""The clock that both workers measure by."""

import time
from collections.abc import Callable
from typing import NamedTuple

MANY = 1_000_000  # steps: nobody waits for more


class Timed(NamedTuple):
    """What was done, and how long it took until it was really done."""

    examples: int
    seconds: float

    @property
    def rate(self) -> float:
        """Return the examples a second."""
        return self.examples / self.seconds


Run = Callable[[int], Timed]  # of so many steps


def steps_for(seconds: float, run: Run) -> int:
    """Return how many steps take about so long; what is found by running twice as many until a tenth of it is over."""
    steps = 1
    while (timed := run(steps)).seconds < seconds / 10 and steps < MANY:
        steps *= 2
    return max(1, min(MANY, round(steps * seconds / timed.seconds)))


def best_seconds(call: Callable[[], object], seconds: float) -> float:
    """Return the least time of a call that returns when its work is done: at least three, for about so long."""
    call()  # compiles, and touches the memory
    start, least, done = time.perf_counter(), float("inf"), 0
    while done < 3 or time.perf_counter() - start < seconds:
        before = time.perf_counter()
        call()
        least = min(least, time.perf_counter() - before)
        done += 1
    return least
