"""The table of a network's layers (`--summary`)."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table


class Layer(NamedTuple):
    """A layer without sublayers, and its output for one example."""

    name: str
    kind: str
    shape: tuple[int, ...]  # of its output for one example, channels last
    parameters: int
    flops: int  # multiplications and additions of its kernel; 0 without a kernel


def product_flops(kernel_size: int, shape: Sequence[int]) -> int:
    """Return a layer's FLOPs for one example: each weight is multiplied and added at each output position."""
    positions = 1
    for length in shape[:-1]:
        positions *= length
    return 2 * kernel_size * positions


def print_model_summary(console: Console, layers: Sequence[Layer]) -> int:
    """Print the table and the totals; return the command's exit code."""
    table = Table("layer", "kind", "output", "parameters", "FLOPs")
    for layer in layers:
        size = "x".join(map(str, layer.shape))
        table.add_row(layer.name, layer.kind, size, f"{layer.parameters:,}", f"{layer.flops:,}")
    totals = (sum(layer.parameters for layer in layers), sum(layer.flops for layer in layers))
    table.add_section()
    table.add_row("all", "", "", *(f"{total:,}" for total in totals))
    console.print(table)
    return 0
