"""--tensorboard: event files for TensorBoard; needs an optional package."""

from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Self

from data.errors import UserError


def check_installed() -> None:
    """Raise a UserError if tensorboardX, an optional package, is missing; before any work is done."""
    if find_spec("tensorboardX") is None:
        extra = "pip install 'jaxnets[tensorboard]', or in a clone pip install -c constraints.txt -e '.[tensorboard]'"
        raise UserError(f"--tensorboard needs tensorboardX, which is an extra: {extra}")


class EventWriter:
    """Writes into a run folder; used as a context. A resumed run adds a file, as TensorBoard expects."""

    def __init__(self, folder: Path, metrics: Iterable[str]):
        """Write into `folder` what the rows have of these `metrics`."""
        from tensorboardX import SummaryWriter  # here: it takes a second to import

        self._metrics = tuple(metrics)
        self._writer = SummaryWriter(str(folder), write_to_disk=True)

    def write(self, step: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add an epoch's rows of metrics.jsonl, as loss/train, accuracy/test and so on."""
        for row in rows:
            for name in self._metrics:
                if row.get(name) is not None:
                    self._writer.add_scalar(f"{name}/{row['split']}", row[name], step)
        self._writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._writer.close()
