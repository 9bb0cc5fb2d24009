"""The command that compares runs of either framework: `python -m jaxnets.compare RUN RUN...`."""

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import tyro
from rich.table import Column, Table

from data import UserError
from data.terminal import command, outlive, printable
from experiment.arguments import parse_arguments
from experiment.config import SAVED, Config, load_config
from experiment.console import make_console, say
from experiment.loop.metrics import shown
from experiment.options import OUTPUT
from experiment.runs import atomic, plots
from experiment.runs import folder as run_folder
from experiment.runs.kinds import require_run
from experiment.runs.pictures import draw_or_refuse

SHOWN = ("model", "epochs", "data_dir", *OUTPUT)  # shown in the table, or irrelevant


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compare runs: a table of their results, the options that differ, and their curves in one picture."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run folders, trained by either framework."""
    out: Path | None = None
    """Picture of the curves to write, a new .png file. Default: none."""


class FinishedRun(NamedTuple):
    """The contents of a run folder."""

    name: str
    config: Config
    summary: dict[str, Any]
    rows: list[dict[str, Any]]  # of metrics.jsonl


def main(framework: str) -> None:
    """Run the command; it is the same for "jaxnets" and "torchnets"."""
    command(lambda: _main(framework, sys.argv[1:]))


def _main(framework: str, argv: list[str]) -> int:
    arguments, console = parse_arguments(Arguments, argv, f"python -m {framework}.compare"), make_console()
    if not arguments.runs:
        raise UserError("no run folder is named")
    if arguments.out:
        atomic.check_new(arguments.out)
        outlive()
    runs = [read(folder) for folder in arguments.runs]
    table = Table(Column("run", overflow="fold"), "framework", "network", "epochs", "validation", "test", "examples/s")
    for one in runs:
        summary = one.summary
        accuracies = (shown(summary[split]["accuracy"], ".2%") for split in ("validation", "test"))
        what = (summary["framework"], summary["model"], str(summary["epochs"]))
        table.add_row(printable(one.name), *what, *accuracies, shown(summary["examples_per_second"], ",.0f"))
    console.print(table)
    for line in differences(runs):
        say(console, line)
    if arguments.out:
        picture = partial(plots.overlaid, {one.name: one.rows for one in runs})
        atomic.write_new(arguments.out, draw_or_refuse(arguments.out, picture))
        say(console, f"curves in {arguments.out}")
    return 0


def read(folder: Path) -> FinishedRun:
    """Read a run folder.

    Raises:
        UserError: it is not a run folder, or the run is not finished.
    """
    require_run(folder)
    config = load_config(folder / run_folder.CONFIG)
    try:
        summary = json.loads((folder / run_folder.SUMMARY).read_text(encoding="utf-8"))
        lines = (folder / run_folder.METRICS).read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
    except OSError as error:
        raise UserError(f"{error.filename}: cannot be read ({error.strerror}); is the run finished?") from None
    except ValueError as error:
        raise UserError(f"{folder}: a file in it is not JSON ({error})") from None
    return FinishedRun(str(folder), config, summary, rows)


def differences(runs: list[FinishedRun]) -> list[str]:
    """Return a line for each option that differs between the runs, with the value in each run."""
    lines = []
    for name in SAVED:
        values = [getattr(one.config, name) for one in runs]
        if name not in SHOWN and len(set(values)) > 1:
            lines.append(f"--{name.replace('_', '-')}: {', '.join(map(str, values))}")
    return lines
