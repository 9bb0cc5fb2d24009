"""Calling a function in threads on all cores, with a progress bar on a terminal."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")
FEW = 4  # threads where each needs much memory
AHEAD = 4  # calls for each thread whose results wait to be taken


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_order(function: Callable[[S], T], items: Iterable[S], threads: int | None = None) -> Iterator[T]:
    """Yield what a function returns of each item, in the order of the items; only a few results wait at a time."""
    count = threads or cores()
    waiting: deque[Future[T]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > AHEAD * count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def shown(results: Iterable[T], total: int, text: str) -> Iterator[T]:
    """Yield results, with a progress bar on standard error if that is a terminal."""
    if not sys.stderr.isatty():
        yield from results
        return
    # Here: worker processes, which import this module, need none of it.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(file=sys.stderr, markup=False, emoji=False)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(text, total=total)
        for result in results:
            yield result
            bar.advance(task)
