"""--tensorboard: event files for TensorBoard; needs an optional package."""

import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self, cast

from data.errors import UserError
from experiment.runs.atomic import cannot_write

PREFIX = "events.out.tfevents"  # by which TensorBoard knows its files; then follow the time and the machine


def check_installed() -> None:
    """Raise a UserError if tensorboardX, an optional package, is missing; before any work is done."""
    if find_spec("tensorboardX") is None:
        extra = "pip install 'jaxnets[tensorboard]', or in a clone pip install -c constraints.txt -e '.[tensorboard]'"
        raise UserError(f"--tensorboard needs tensorboardX, which is an extra: {extra}")


class EventWriter:
    """Writes into a run folder; used as a context. A resumed run adds a file, as TensorBoard expects.

    In this thread, so that a disk that refuses ends the training: tensorboardX's own writer has a thread, which dies.
    """

    def __init__(self, folder: Path, metrics: Iterable[str], past: Sequence[Mapping[str, Any]] = (), steps: int = 0):
        """Start an event file.

        Args:
            folder: the run folder.
            metrics: what is written of each row that has it.
            past: the rows of metrics.jsonl of a run that is resumed.
            steps: of an epoch.

        Raises:
            FolderError: the file cannot be written.
        """
        # Here: it takes a second to import.
        from tensorboardX import record_writer, summary
        from tensorboardX.proto import event_pb2

        self._metrics = tuple(dict.fromkeys(metrics))
        self._scalar, proto = summary.scalar, cast(Any, event_pb2)
        self._event: Callable[..., Any] = proto.Event
        before = len(list(folder.glob(f"{PREFIX}.*")))
        suffix = f".{before + 1}" if before else ""  # two files of one second have two names
        self._path = folder / f"{PREFIX}.{int(time.time())}.{socket.gethostname()}{suffix}"
        with self._writing():
            self._writer = record_writer.RecordWriter(str(self._path))
            self._add(file_version="brain.Event:2")
            if before:  # TensorBoard then hides what was written after the checkpoint that the run resumes from
                first = max((row["epoch"] for row in past), default=0) * steps + 1
                self._add(step=first, session_log=proto.SessionLog(status=proto.SessionLog.START))
        if not before:  # --tensorboard is new: its files begin with what was done without it
            for row in past:
                self.write(row["epoch"] * steps, [row])

    def write(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add an epoch's rows of metrics.jsonl, as loss/train, accuracy/test and so on.

        Raises:
            FolderError: they cannot be written.
        """
        with self._writing():
            for row in rows:
                for name in self._metrics:
                    if row.get(name) is not None:
                        self._add(step=step, summary=self._scalar(f"{name}/{row['split']}", row[name]))
            self._writer.flush()

    def _add(self, **content: Any) -> None:
        self._writer.write(self._event(wall_time=time.time(), **content).SerializeToString())

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._path, error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # `write` has written all, or said that it could not
            self._writer.close()
