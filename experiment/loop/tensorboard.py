"""--tensorboard: event files for TensorBoard; needs an optional package."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self, cast

from data.errors import UserError
from experiment.runs.atomic import cannot_write

PREFIX = "events"  # of the files' names, with ".out.tfevents." and the time behind it


def check_installed() -> None:
    """Raise a UserError if tensorboardX, an optional package, is missing; before any work is done."""
    if find_spec("tensorboardX") is None:
        extra = "pip install 'jaxnets[tensorboard]', or in a clone pip install -c constraints.txt -e '.[tensorboard]'"
        raise UserError(f"--tensorboard needs tensorboardX, which is an extra: {extra}")


class EventWriter:
    """Writes into a run folder; used as a context. A resumed run adds a file, as TensorBoard expects.

    In this thread, so that a disk that refuses ends the training: tensorboardX's own writer would wait for ever.
    """

    def __init__(self, folder: Path, past: Sequence[Mapping[str, Any]] = (), steps: int = 0):
        """Start an event file.

        Args:
            folder: the run folder.
            past: the rows of metrics.jsonl of a run that is resumed.
            steps: of an epoch.

        Raises:
            FolderError: the file cannot be written.
        """
        # Here: it takes a second to import.
        from tensorboardX import event_file_writer, summary
        from tensorboardX.proto import event_pb2

        self._folder, self._scalar, proto = folder, summary.scalar, cast(Any, event_pb2)
        self._event: Callable[..., Any] = proto.Event
        before = len(list(folder.glob(f"{PREFIX}.out.tfevents.*")))
        with self._writing():
            suffix = f".{before + 1}" if before else ""  # two files of one second have two names
            self._writer = event_file_writer.EventsWriter(str(folder / PREFIX), suffix)
            if before:  # TensorBoard then hides what was written after the checkpoint that the run resumes from
                first = max((row["epoch"] for row in past), default=0) * steps + 1
                start = proto.SessionLog(status=proto.SessionLog.START)
                self._writer.write_event(self._event(wall_time=time.time(), step=first, session_log=start))
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
                for name in ("loss", "accuracy"):
                    if row[name] is not None:
                        value = self._scalar(f"{name}/{row['split']}", row[name])
                        self._writer.write_event(self._event(wall_time=time.time(), step=step, summary=value))
            self._writer.flush()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise cannot_write(self._folder / f"{PREFIX}.out.tfevents", error) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        with suppress(OSError):  # `write` has written all, or said that it could not
            self._writer.close()
