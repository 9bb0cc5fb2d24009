"""A loader with worker processes; the batches and their order do not depend on the number of workers."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import fields
from multiprocessing.shared_memory import SharedMemory
from typing import Any, NamedTuple, Self

import numpy as np

from data.base import DataError, Split
from data.loader import Batch, Loader

AHEAD = 3  # batches prepared in advance per worker


class Shared(NamedTuple):
    """An array in shared memory."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Workers:
    """A training loader with worker processes; a context manager, which ends the processes."""

    def __init__(self, loader: Loader, count: int):
        self.loader, self._count = loader, count
        self._blocks: list[SharedMemory] = []

    def __enter__(self) -> Self:
        # One shared copy of the examples. Processes are spawned: a fork would not copy the frameworks' threads.
        shared = [self._share(array) for array in self.loader.split]
        options = {field.name: getattr(self.loader, field.name) for field in fields(Loader) if field.name != "split"}
        self._pool = ProcessPoolExecutor(
            self._count, multiprocessing.get_context("spawn"), initializer=_begin, initargs=(options, shared)
        )
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        for block in self._blocks:
            block.close()
            block.unlink()

    def __len__(self) -> int:
        """Batches in an epoch."""
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def epoch(self, epoch: int = 0, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of `Loader.epoch`.

        Raises:
            DataError: a worker has died.
        """
        waiting: deque[Future[Batch]] = deque()
        try:
            for number in range(start, len(self)):
                waiting.append(self._pool.submit(_make, epoch, number))
                if len(waiting) > AHEAD * self._count:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BrokenProcessPool:
            advice = "was it killed for want of memory? Go on with --resume, and fewer --workers"
            raise DataError(f"one of the {self._count} processes that read the examples has died; {advice}") from None
        finally:
            for future in waiting:
                future.cancel()

    def _share(self, array: np.ndarray) -> Shared:
        block = SharedMemory(create=True, size=max(1, array.nbytes))
        self._blocks.append(block)
        np.ndarray(array.shape, array.dtype, block.buf)[...] = array
        return Shared(block.name, array.shape, array.dtype.name)


_state: dict[str, Any] = {}  # of a worker


def _begin(options: dict[str, Any], shared: list[Shared]) -> None:
    """Initialize a worker."""
    for number in (signal.SIGINT, signal.SIGHUP):  # the training process handles both and ends its workers
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_follow, daemon=True).start()
    _state["blocks"] = [SharedMemory(one.name) for one in shared]
    arrays = [np.ndarray(one.shape, one.dtype, block.buf) for one, block in zip(shared, _state["blocks"], strict=True)]
    _state["loader"] = Loader(Split(*arrays), **options)


def _follow() -> None:
    """End this worker when the training process ends, even if it is killed."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
    os._exit(1)


def _make(epoch: int, number: int) -> Batch:
    if _state.get("epoch") != epoch:
        _state["epoch"], _state["drawn"] = epoch, _state["loader"].draw(epoch)
    return _state["loader"].finish(_state["loader"].take(_state["drawn"], number))
