"""How far data parallel training scales, on paper: `python -m benchmarks.scaling [--write docs/scaling.md]`.

Nothing is timed. A step's arithmetic and messages are counted from the registry, and divided by what a device and a
link are said to do; the tables of docs/scaling.md are what this prints. A new network is in them by itself.
"""

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from experiment.registry import Entry
from jaxnets import MODELS
from jaxnets.model_summary import summarize

BEGIN, END = "<!-- made by benchmarks/scaling.py -->\n", "<!-- end -->\n"
FLOAT = 4  # bytes
EXAMPLES = 64  # of each device, where the batch grows with them


class Link(NamedTuple):
    """What connects devices: bytes a second in one direction, and seconds until the first one arrives."""

    name: str
    rate: float
    latency: float


LINKS = (
    Link("10 Gb/s Ethernet", 1.25e9, 30e-6),
    Link("100 Gb/s InfiniBand", 12.5e9, 3e-6),
    Link("NVLink", 300e9, 3e-6),
)


class Work(NamedTuple):
    """What a network's step has to compute for each example, and to send whatever their number."""

    name: str
    flops: float  # forward and backward, one example
    backward: float  # of that, the share that is backward
    parameters: int  # trained
    norms: int  # BatchNorms in training


def main() -> None:
    """Print the tables, or write them where they belong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tflops", type=float, default=10.0, help="what a device attains, 1e12 operations a second")
    parser.add_argument("--batch-size", type=int, default=256, help="where it is fixed, as the trainers fix it")
    parser.add_argument("--overlap", type=float, default=0.5, help="share of the backward pass that hides messages")
    parser.add_argument("--write", type=Path, help="a file whose tables are to be replaced by these")
    arguments = parser.parse_args()
    speed, works = arguments.tflops * 1e12, [count(name, entry) for name, entry in MODELS.items()]
    text = f"{volumes(works, arguments.batch_size, speed)}\n"
    text += scaling(works, arguments.batch_size, speed, arguments.overlap)
    if arguments.write:
        before, _, rest = arguments.write.read_text().partition(BEGIN)
        arguments.write.write_text(f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")
    else:
        print(text, end="")


def count(name: str, entry: Entry) -> Work:
    """Return what a network's step is made of. The backward pass costs twice the forward one; of what is frozen, none.

    Each product of the forward pass has two in the backward one: with the layer's input, and with its weights.
    """
    layers = summarize(entry)
    forward = sum(layer.flops for layer in layers)
    trained = layers
    if entry.num_frozen:
        head = entry.head.split(".")[0]
        trained = [layer for layer in layers if layer.name.split("/")[0].split("_")[0] == head]
    backward = 2 * sum(layer.flops for layer in trained)
    norms = sum(layer.kind == "BatchNorm" for layer in trained)
    return Work(name, forward + backward, backward / (forward + backward), entry.num_params, norms)


def computing(work: Work, examples: float, speed: float) -> float:
    """Return the seconds that a device computes for so many examples."""
    return work.flops * examples / speed


def volume(work: Work, devices: int) -> float:
    """Return the bytes that a device sends in a step: those of a ring's all-reduce of the gradients."""
    return 2 * (devices - 1) / devices * FLOAT * work.parameters


def averaging(work: Work, devices: int, link: Link) -> float:
    """Return the seconds that the gradients' all-reduce takes: in a ring, 2(N-1) messages one after another."""
    return volume(work, devices) / link.rate + 2 * (devices - 1) * link.latency if devices > 1 else 0.0


def synchronising(work: Work, devices: int, link: Link) -> float:
    """Return the seconds that all wait for sums of a few numbers, which latency alone decides.

    Each BatchNorm has two in the forward pass, of mean and variance, and two in the backward one; the metrics are one.
    A sum up and down a tree of N devices is 2 log2(N) messages one after another.
    """
    return (4 * work.norms + 1) * 2 * math.log2(devices) * link.latency


def step_time(work: Work, devices: int, examples: float, link: Link, speed: float, overlap: float) -> float:
    """Return the seconds of a step; `examples` are those of one device, `overlap` the share of backward that hides."""
    computed = computing(work, examples, speed)
    shown = max(0.0, averaging(work, devices, link) - overlap * work.backward * computed)
    return computed + shown + synchronising(work, devices, link)


def efficiency(work: Work, devices: int, batch: int, link: Link, speed: float, overlap: float) -> float:
    """Return which share of N devices' arithmetic a batch of a fixed size makes use of."""
    alone = computing(work, batch, speed)
    return alone / (devices * step_time(work, devices, batch / devices, link, speed, overlap))


def paying(work: Work, batch: int, link: Link, speed: float, overlap: float) -> list[int]:
    """Return the most devices, a power of two, at 80% efficiency, at 50%, and at which a step is the fastest."""
    numbers = [2**at for at in range(int(math.log2(batch)) + 1)]
    shares = [efficiency(work, n, batch, link, speed, overlap) for n in numbers]
    speeds = [n * share for n, share in zip(numbers, shares, strict=True)]  # one device's is 1
    good = [max(n for n, share in zip(numbers, shares, strict=True) if share >= bound) for bound in (0.8, 0.5)]
    return [*good, numbers[speeds.index(max(speeds))]]


def volumes(works: Sequence[Work], batch: int, speed: float) -> str:
    """Return the table of what a step computes and sends."""
    names = [f"ms, {link.name}" for link in LINKS]
    header = ["network", "trained parameters", "BatchNorms", f"computing {batch}, ms", "MB a device sends", *names]
    rows = []
    for work in works:
        many = 2**20  # 2(N-1)/N is as good as 2
        times = [f"{volume(work, many) / link.rate * 1e3:,.3g}" for link in LINKS]
        sent = f"{volume(work, many) / 1e6:,.3g}"
        computed = f"{computing(work, batch, speed) * 1e3:,.3g}"
        rows.append([f"`{work.name}`", f"{work.parameters:,}", str(work.norms), computed, sent, *times])
    return table(header, rows)


def scaling(works: Sequence[Work], batch: int, speed: float, overlap: float) -> str:
    """Return the table of how many devices still pay."""
    header = ["network"]
    for link in LINKS:
        header += [f"{link.name}: 80%", "50%", "fastest", f"64 devices, {EXAMPLES} examples each"]
    rows = []
    for work in works:
        row = [f"`{work.name}`"]
        for link in LINKS:
            row += [str(number) for number in paying(work, batch, link, speed, overlap)]
            row.append(f"{efficiency(work, 64, 64 * EXAMPLES, link, speed, overlap):.0%}")
        rows.append(row)
    return table(header, rows)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    main()
