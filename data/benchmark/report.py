"""From seconds to figures: medians, ratios, whether the targets are met, and the table that says so."""

import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from data.benchmark.measure import Row

OURS = "data.Loader"
# The copy that counts makes a new buffer for each batch, as a loader must whose batches may be kept.
TARGETS = {  # (task, contender): how many times as fast as it the loader is to be
    ("raw", "DataLoader, 0 workers"): 8.0,
    ("raw", "DataLoader, 2 workers"): 8.0,
    ("raw", "memcpy, fresh buffer"): 0.5,
    ("flip,crop", "torchvision, 0 workers"): 5.0,
    ("flip,crop", "torchvision, 2 workers"): 5.0,
}


class Target(NamedTuple):
    """A target, and what was found."""

    dataset: str
    task: str
    batch_size: int
    against: str
    wanted: float
    found: float  # ratio of the medians
    least: float  # of the rounds
    most: float
    met: bool


class Figures(NamedTuple):
    """What a row comes to: the median of its rounds, the quickest and the slowest."""

    milliseconds: float  # for a full batch
    least: float
    most: float
    images_per_second: float


def figures(row: Row) -> Figures:
    """Return a row's figures; a last batch that is not full counts as the part of one that it is."""
    batches = row.examples / row.batch_size
    median = statistics.median(row.seconds)
    middle, least, most = (1e3 * value / batches for value in (median, min(row.seconds), max(row.seconds)))
    return Figures(middle, least, most, row.examples / median)


def targets(rows: Iterable[Row]) -> Iterator[Target]:
    """Yield each target whose contender was measured."""
    found = {(row.dataset, row.task, row.batch_size, row.contender): row.seconds for row in rows}
    for (dataset, task, batch_size, contender), theirs in found.items():
        if wanted := TARGETS.get((task, contender)):
            ours = found[dataset, task, batch_size, OURS]
            ratio = statistics.median(theirs) / statistics.median(ours)
            rounds = [one / other for one, other in zip(theirs, ours, strict=True)]
            yield Target(
                dataset, task, batch_size, contender, wanted, ratio, min(rounds), max(rounds), met=ratio >= wanted
            )


def table(rows: Sequence[Row]) -> str:
    """Return a line for each measurement, with its target if it has one."""
    wanted = {(one.dataset, one.task, one.batch_size, one.against): one for one in targets(rows)}
    lines = [f"{'batch':>6}  {'contender':24} {'ms a batch':>10}  {'range':17} {'images/s':>12}  loader is"]
    heading = None
    for row in rows:
        if (row.dataset, row.task) != heading:
            heading = (row.dataset, row.task)
            lines.append(f"{row.dataset}, {row.task}")
        found = figures(row)
        spread = f"{found.least:.3f} to {found.most:.3f}"
        line = f"{row.batch_size:6}  {row.contender:24} {found.milliseconds:10.3f}  {spread:17}"
        line += f" {found.images_per_second:12,.0f}"
        if target := wanted.get((row.dataset, row.task, row.batch_size, row.contender)):
            verdict = "met" if target.met else "NOT MET"
            line += f"  {target.found:.2f} times as fast, wanted {target.wanted:g}: {verdict}"
        lines.append(line)
    return "\n".join(lines)
