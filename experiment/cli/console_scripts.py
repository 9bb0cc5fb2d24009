"""The console scripts `jaxnets COMMAND ...` and `torchnets COMMAND ...`: the same as `python -m jaxnets.COMMAND ...`.

Unlike `python -m`, they do not put the current folder on the import path, so no file of the user's there can hide a
package of this project.
"""

import argparse
import runpy
import sys
from functools import partial
from pathlib import Path

COMMANDS = {
    "train": "train a network",
    "evaluate": "evaluate a trained network on its dataset",
    "predict": "classify files with a trained network",
    "visualize": "draw filters, activations and mistakes of a trained network",
    "compare": "compare runs of either framework",
    "data": "list and download datasets",
}


def main(framework: str) -> None:
    """Run the command line of "jaxnets" or "torchnets"; only the module of the command is imported."""
    runpy.run_module(_module(framework), run_name="__main__", alter_sys=True)


def _module(framework: str) -> str:
    """Return the module of the command in `sys.argv`, and remove the command's name from there."""
    parser = argparse.ArgumentParser(
        prog=framework,
        usage=f"{framework} COMMAND ...",
        epilog=f"{framework} COMMAND --help lists the options of COMMAND.",
        formatter_class=partial(argparse.HelpFormatter, indent_increment=1),  # room for the longest command
    )
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, about in COMMANDS.items():
        commands.add_parser(name, help=about, add_help=False)
    command = parser.parse_args(sys.argv[1:2]).command
    del sys.argv[1]
    return "data" if command == "data" else f"{framework}.{command}"


def module_command(module: str, *argv: str) -> list[str]:
    """Return the command line that runs a module in a new process.

    `python -m` puts the current folder on the import path; the new process does so only if this one has it there.
    """
    here = "" in sys.path or str(Path.cwd()) in sys.path
    return [sys.executable, *(() if here else ("-P",)), "-m", module, *argv]
