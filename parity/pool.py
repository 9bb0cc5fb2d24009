"""Checking many networks at once: a process for each core, as most of a check is compilation and Python."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context

from parity.report import Report

THREADS = "OMP_NUM_THREADS"


def check_models(names: Sequence[str], *, full: bool) -> Iterator[Report]:
    """Yield the report of each registered network, in the order of `names`."""
    workers = min(len(names), os.cpu_count() or 1)
    if workers <= 1:
        yield from (_check(name, full=full) for name in names)
        return
    before = os.environ.get(THREADS)
    os.environ[THREADS] = "1"  # the workers inherit it; with more threads than cores they would wait for each other
    try:
        # Not forked: JAX has threads, and a forked copy of a lock that one of them holds is never let go.
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            yield from pool.map(partial(_check, full=full), names)
    finally:
        if before is None:
            del os.environ[THREADS]
        else:
            os.environ[THREADS] = before


def _check(name: str, *, full: bool) -> Report:
    from parity import suite  # here: each worker imports the frameworks for itself

    return suite.check_model(name, full=full)
