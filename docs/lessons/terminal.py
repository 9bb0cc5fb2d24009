"""Commands in a lesson, run in its own process, which saves the imports of two frameworks for each."""

import contextlib
import io
import os
import runpy
import shlex
import sys
from pathlib import Path
from unittest.mock import patch


def run(line: str, folder: Path, *, status: int = 0) -> None:
    """Run a command `python -m MODULE ...` in a folder; print what it prints. It must end with this status."""
    words = shlex.split(line)
    if words[:2] != ["python", "-m"]:
        raise ValueError(f"expected python -m MODULE, found {line}")
    for name in (words[2], f"{words[2]}.__main__"):  # a second run starts anew
        if not hasattr(sys.modules.get(name), "__path__"):
            sys.modules.pop(name, None)
    output, found = io.StringIO(), 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.chdir(folder))
        stack.enter_context(patch.object(sys, "argv", words[2:]))
        stack.enter_context(patch.dict(os.environ, COLUMNS="120"))
        stack.enter_context(patch("rich.console._is_jupyter", lambda: False))  # as on a terminal, in a notebook, too
        stack.enter_context(contextlib.redirect_stdout(output))
        stack.enter_context(contextlib.redirect_stderr(output))
        try:
            runpy.run_module(words[2], run_name="__main__", alter_sys=True)
        except SystemExit as end:
            found = end.code if isinstance(end.code, int) else int(end.code is not None)
    print("\n".join(row.rstrip() for row in output.getvalue().rstrip().split("\n")))
    if found != status:
        raise RuntimeError(f"{line} ended with status {found}, expected {status}")
