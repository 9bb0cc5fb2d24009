"""A loader with worker processes; the batches and their order do not depend on the number of workers."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import fields
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from queue import SimpleQueue
from typing import Any, NamedTuple, Self

import numpy as np

from data.base import DataError, Split
from data.loader import Batch, Loader
from data.rows import is_mapped, pieces

AHEAD = 3  # batches prepared in advance per worker


class Shared(NamedTuple):
    """An array in shared memory."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Worker:
    """A process that makes batches, and a thread that reads them from its pipe.

    Each worker has a pipe of its own, so that the death of one is the end of its pipe, in the middle of a batch, too.
    A `ProcessPoolExecutor` has one pipe for all, and waits for the rest of such a batch for ever.
    """

    def __init__(self, options: dict[str, Any], shared: "list[Shared | np.ndarray]"):
        # Processes are spawned: a fork would not copy the frameworks' threads.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, options, shared), daemon=True)
        self._process.start()
        theirs.close()
        self._made: SimpleQueue[Batch | Exception | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def ask(self, epoch: int, number: int) -> None:
        """Let the worker make a batch."""
        with suppress(OSError):  # it has died, which `take` says
            self._pipe.send((epoch, number))

    def take(self) -> Batch | None:
        """Wait for the batch that was asked for first; None if the worker has died."""
        made = self._made.get()
        if isinstance(made, Exception):
            raise made
        if made is None:
            self._made.put(None)  # for whoever takes the next
        return made

    def end(self) -> None:
        """End the process, once it has made what it was asked for."""
        with suppress(OSError):
            self._pipe.send(None)
        self._process.join()
        self._thread.join()
        self._pipe.close()

    def _read(self) -> None:
        try:
            while True:
                self._made.put(self._pipe.recv())
        except (EOFError, OSError):
            self._made.put(None)


class Workers:
    """A training loader with worker processes; a context manager, which ends the processes."""

    def __init__(self, loader: Loader, count: int):
        self.loader, self._count = loader, count
        self._blocks: list[SharedMemory] = []
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        inputs, labels = self.loader.split  # one copy of the examples for all
        shared = [inputs if is_mapped(inputs) else self._share(inputs), self._share(labels)]
        options = {field.name: getattr(self.loader, field.name) for field in fields(Loader) if field.name != "split"}
        self._workers = [Worker(options, shared) for _ in range(self._count)]
        return self

    def __exit__(self, *error: object) -> None:
        for worker in self._workers:
            worker.end()
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
        waiting: deque[Worker] = deque()
        try:
            for number in range(start, len(self)):
                waiting.append(self._workers[number % self._count])
                waiting[-1].ask(epoch, number)
                if len(waiting) > AHEAD * self._count:
                    yield self._take(waiting.popleft())
            while waiting:
                yield self._take(waiting.popleft())
        finally:  # what nobody wants any more must not be taken for batches of the next epoch
            for worker in waiting:
                with suppress(Exception):
                    worker.take()

    def _take(self, worker: Worker) -> Batch:
        batch = worker.take()
        if batch is None:
            advice = "was it killed for want of memory? Go on with --resume, and fewer --workers"
            raise DataError(f"one of the {self._count} processes that read the examples has died; {advice}")
        return batch

    def _share(self, array: np.ndarray) -> Shared:
        block = SharedMemory(create=True, size=max(1, array.nbytes))
        self._blocks.append(block)
        made, start = np.ndarray(array.shape, array.dtype, block.buf), 0
        for piece in pieces(array):
            made[start : start + len(piece)] = piece
            start += len(piece)
        return Shared(block.name, array.shape, array.dtype.name)


def _serve(pipe: Connection, options: dict[str, Any], shared: list[Shared | np.ndarray]) -> None:
    """Make batches in a worker until there is nothing to do any more."""
    for number in (signal.SIGINT, signal.SIGHUP):  # the training process handles both and ends its workers
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_follow, daemon=True).start()
    blocks: list[SharedMemory] = []  # as long as the arrays in them
    arrays = []
    for one in shared:
        if isinstance(one, Shared):
            blocks.append(SharedMemory(one.name))
            one = np.ndarray(one.shape, one.dtype, blocks[-1].buf)
        arrays.append(one)
    with suppress(EOFError, OSError):  # the training process has ended
        _make(pipe, Loader(Split(*arrays), **options))


def _make(pipe: Connection, loader: Loader) -> None:
    drawn: tuple[int, Any] | None = None
    while asked := pipe.recv():
        epoch, number = asked
        try:
            if drawn is None or drawn[0] != epoch:
                drawn = epoch, loader.draw(epoch)
            made: Batch | Exception = loader.finish(loader.take(drawn[1], number))
        except Exception as error:  # raised again where the batch is taken
            made = error
        pipe.send(made)


def _follow() -> None:
    """End this worker when the training process ends, even if it is killed."""
    parent = multiprocessing.parent_process()
    if parent:
        parent.join()
    os._exit(1)
