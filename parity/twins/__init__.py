"""Twins side by side: pages with the two files of a network, or of any other pair, in two aligned columns."""

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path


def write(
    names: Sequence[str],
    out: Path,
    *,
    measure: bool = True,
    measurements: Path | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> list[Path]:
    """Write a page for each name, an index and a page of the traps.

    Args:
        names: networks, or files that both packages have ("step"); none: all of them.
        out: a folder; it is made if it does not exist.
        measure: measure the errors of the networks' layers.
        measurements: a JSON file of errors, read and kept up to date; by default OUT/measurements.json.
        say: is told what is being done, a line at a time.

    Returns:
        The pages, the index first.

    Raises:
        UserError: no such name, or a file cannot be written.
    """
    return importlib.import_module("parity.twins.folder").write(
        names, out, measure=measure, measurements=measurements, say=say
    )
