"""What a difference is: hypotheses, each named only if it reproduces JAX's numbers; and the line on both sides."""

from typing import Any

from parity.trace.lines import Line
from parity.training.roles import Roles
from parity.training.stages import Compared
from parity.training.torch_steps import TorchStep, TorchTraining
from parity.training.weights import Forward

Lines = tuple[Line | None, Line | None]


def diagnosed(
    stage: str,
    number: int,
    compared: list[Compared],
    torch_steps: list[TorchStep],
    passed: Forward,
    roles: Roles,
    ours: TorchTraining,
) -> tuple[str, Lines]:
    """Return what a stage's first difference is, "" if nothing reproduces it, and PyTorch's and JAX's line."""
    row = compared[number].worst(stage)
    theirs = row.node.line if row is not None and row.node is not None else None
    lines: dict[str, Any] = {"forward": "loss", "gradients": "loss", "average": "after", "statistics": "loss"}
    mine = torch_steps[number].lines.get(lines.get(stage, stage))
    return "", (mine, theirs)
