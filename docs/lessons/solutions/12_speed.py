"""Solutions of lesson 12."""

import numpy as np
from exercises import Exercise


def summary(a, b):
    """Return the ratio of the medians, and the lowest and the highest ratio of a turn."""
    ratios = np.asarray(a) / np.asarray(b)
    return float(np.median(a) / np.median(b)), float(ratios.min()), float(ratios.max())


def best_against_best(a, b):
    """Compare the best rounds, and the worst with the best: a mistake."""
    return max(a) / max(b), min(a) / max(b), max(a) / min(b)


def check_summary(answer):
    """Check rounds in which the machine gets slower."""
    found = tuple(answer([20.0, 15.0, 10.0], [10.0, 10.0, 4.0]))
    assert np.allclose(found, (1.5, 1.5, 2.5)), f"expected the ratio 1.5 and the range 1.5 to 2.5, found {found}"


def seconds_per_step(step, state, steps, clock, wait):
    """Return the seconds of a step, after one that warms up."""
    state = step(state)
    wait(state)  # before the clock starts: what is still computed would be counted
    start = clock()
    for _ in range(steps):
        state = step(state)
    wait(state)  # before the clock stops
    return (clock() - start) / steps


def not_waited(step, state, steps, clock, wait):
    """Stop the clock before the work is done: a mistake."""
    state = step(state)
    start = clock()
    for _ in range(steps):
        state = step(state)
    seconds = (clock() - start) / steps
    wait(state)
    return seconds


class Machine:
    """A machine whose steps are queued in no time, and take 2 s each, the first one 100 s."""

    def __init__(self):
        self.now, self.done, self.calls = 0.0, 0.0, 0

    def step(self, state):
        """Queue a step."""
        self.calls += 1
        self.done = max(self.done, self.now) + (100.0 if self.calls == 1 else 2.0)
        return state + 1

    def clock(self):
        """Return the time."""
        return self.now

    def wait(self, state):
        """Wait until all is computed."""
        assert state == self.calls, "wait for the newest state"
        self.now = max(self.now, self.done)


def check_seconds_per_step(answer):
    """Time a machine whose figures are known."""
    machine = Machine()
    found = answer(machine.step, 0, 5, machine.clock, machine.wait)
    assert machine.calls == 6, f"expected a step to warm up and 5 more, found {machine.calls}"
    assert found == 2.0, f"a step takes 2 s, and the first one, 100 s, is not counted; found {found}"


def speedup(share, factor):
    """Return Amdahl's speedup."""
    return 1 / (1 - share + share / factor)


def in_proportion(share, factor):
    """Take the share of the factor: a mistake."""
    return 1 + share * (factor - 1)


def check_speedup(answer):
    """Check that what is not made faster bounds the whole."""
    assert abs(answer(1.0, 3.0) - 3.0) < 1e-9, "all of it three times as fast is three times as fast"
    assert abs(answer(0.75, 2.0) - 1.6) < 1e-9, "three quarters twice as fast is 1.6 times as fast"
    assert answer(0.5, 1e9) < 2.000001, "half of it in no time is twice as fast, not more"


EXERCISES = [
    Exercise(summary, check_summary, best_against_best),
    Exercise(seconds_per_step, check_seconds_per_step, not_waited),
    Exercise(speedup, check_speedup, in_proportion),
]
