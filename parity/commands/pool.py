"""Checking many networks at once: a process for each core, as most of a check is compilation and Python."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from multiprocessing import get_context
from typing import TypeVar

from parity.report import Report

T = TypeVar("T")
# With more threads than cores the workers would wait for each other.
THREADS = {"OMP_NUM_THREADS": "1"}
# By default the first worker's JAX takes most of a GPU's memory, and the others fail for want of it.
MEMORY = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
# A check is about the network, not the device, and XLA's float64 is not exact on every device: docs/compiler.md.
DEVICE = {"JAX_PLATFORMS": "cpu"}


def check_models(names: Sequence[str], *, full: bool) -> Iterator[Report]:
    """Yield the report of each registered network, in the order of `names`."""
    yield from each(partial(_check, full=full), names)


def each(function: Callable[[str], T], names: Sequence[str]) -> Iterator[T]:
    """Yield what a function of a module makes of each name, in their order, computed by a process for each core."""
    workers = min(len(names), os.cpu_count() or 1)
    if workers <= 1:
        yield from map(function, names)
        return
    # Not forked: JAX has threads, and a forked copy of a lock that one of them holds is never let go.
    with set_variables(THREADS), set_defaults(MEMORY), ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        yield from pool.map(function, names)


def set_defaults(values: Mapping[str, str]) -> AbstractContextManager[None]:
    """Set environment variables that are not set."""
    return set_variables({name: value for name, value in values.items() if name not in os.environ})


@contextmanager
def set_variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set environment variables, which processes that are started inside inherit; restore them at the end."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _check(name: str, *, full: bool) -> Report:
    from parity import suite  # here: each worker imports the frameworks for itself

    return suite.check_model(name, full=full)
