"""From configurations to results: one training, or several as one program, set up and run."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from rich.console import Console

from data import UserError
from experiment.backend import Backend
from experiment.config import Config
from experiment.console import make_console
from experiment.distributed.agreement import Group
from experiment.loop.session import Session
from experiment.loop.setup import set_up
from experiment.loop.training import Result, train, train_together
from experiment.runs.atomic import FolderError


class Runner(NamedTuple):
    """What is common to all trainings of a command."""

    framework: str
    backend: Backend
    group: Group
    console: Console

    def train(self, config: Config) -> Result:
        """Train once; in a dry run, only check."""
        self.backend.set_precision(config)  # which --tune may choose
        with ExitStack() as stack:
            session, variables = set_up(self.framework, self.backend, config, self.group, self.console, stack)
            return train(session, variables) if session else Result(0, {})

    def train_together(self, configs: Sequence[Config]) -> list[Result]:
        """Train several networks as one program; those whose options are refused are left out.

        Raises:
            FolderError: a folder cannot be made.
        """
        ready: dict[int, tuple[Session, Any]] = {}
        refused: dict[int, Result] = {}
        with ExitStack() as stack:
            for at, config in enumerate(configs):
                speaker = make_console(quiet=True) if ready else self.console  # only the first prints
                try:
                    session, variables = set_up(self.framework, self.backend, config, self.group, speaker, stack)
                except FolderError:
                    raise
                except UserError as error:
                    refused[at] = Result(0, {}, str(error))
                else:
                    ready |= {at: (session, variables)} if session else {}
            results = dict(zip(ready, train_together(list(ready.values())), strict=True)) if ready else {}
        return [(results | refused)[at] for at in range(len(configs))]
