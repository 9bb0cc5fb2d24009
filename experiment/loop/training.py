"""Running trainings that are ready to start: one, or several at once as one program."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, cast

from data.terminal import SIGNALLED
from data.workers import Workers
from experiment.backend import EnsembleBackend
from experiment.config import every
from experiment.console import make_console
from experiment.loop.monitor import Monitor
from experiment.loop.profiling import Profile
from experiment.loop.session import Session
from experiment.loop.task import training_loader
from experiment.loop.tensorboard import EventWriter
from experiment.loop.trainer import Trainer
from experiment.runs.summary import report, save


class Result(NamedTuple):
    """How a training has ended."""

    code: int  # the command's exit code
    summary: dict[str, Any]  # the content of summary.json


def train(session: Session, variables: Any) -> Result:
    """Train and complete the run folder; after a signal, leave one that can be resumed."""
    config, console, group = session.config, session.console, session.group
    loader: Any = training_loader(config, session.task, group.process.rank, group.process.size)
    with ExitStack() as stack:  # until everything is saved: a signal must not interrupt that
        if config.workers:
            loader = stack.enter_context(Workers(loader, config.workers))
        options = _monitor_options(session, stack)
        monitor = stack.enter_context(Monitor(len(loader), config.epochs, console, **options))
        watcher = stack.enter_context(EventWriter(session.folder)) if config.tensorboard and group.leads else None
        outcome = Trainer(session, loader, monitor, watcher).run(variables)
        code = SIGNALLED + monitor.stopped if outcome.interrupted else 0
        scores, summary = save(session, outcome) if group.leads else ({}, {})
        group.barrier()  # the other processes keep catching signals until then
    report(session, outcome, scores)
    return Result(code, summary)


def train_together(ready: Sequence[tuple[Session, Any]]) -> list[Result]:
    """Train several networks at once, as one program; complete the run folder of each, as `train` does."""
    first, variables = ready[0][0], [variables for _, variables in ready]
    sessions, quiet = [session for session, _ in ready], make_console(quiet=True)
    loaders = [training_loader(session.config, session.task) for session in sessions]
    with ExitStack() as stack:
        options, size = _monitor_options(first, stack), len(loaders[0])
        lead = stack.enter_context(Monitor(size, first.config.epochs, first.console, **options))
        options.pop("watch", None)
        others = [Monitor(size, first.config.epochs, quiet, **options) for _ in sessions[1:]]
        watchers = [
            stack.enter_context(EventWriter(session.folder)) if first.config.tensorboard else None
            for session in sessions
        ]
        monitors = [lead, *others]
        trainers = [Trainer(*each) for each in zip(sessions, loaders, monitors, watchers, strict=True)]
        configs = [session.config for session in sessions]
        for states in cast(EnsembleBackend, first.backend).fit_many(
            first.model, variables, loaders, configs, monitors
        ):
            for trainer, state in zip(trainers, states, strict=True):
                if not trainer.over:  # --patience may end one before the others
                    trainer.handle(state)
            if all(trainer.over for trainer in trainers):
                break
        outcomes = [trainer.outcome() for trainer in trainers]
        saved = [save(session, outcome) for session, outcome in zip(sessions, outcomes, strict=True)]
    for session, outcome, (scores, _) in zip(sessions, outcomes, saved, strict=True):
        report(session, outcome, scores)
    codes = [SIGNALLED + lead.stopped if outcome.interrupted else 0 for outcome in outcomes]
    return [Result(code, summary) for code, (_, summary) in zip(codes, saved, strict=True)]


def _monitor_options(session: Session, stack: ExitStack) -> dict[str, Any]:
    """Return the options of the monitor; what they open is closed with `stack`."""
    config, group = session.config, session.group
    number, unit = every(config)
    # Only process 0 checks the numbers; the others stop when it does.
    options: dict[str, Any] = {"skip": config.on_nan == "skip" or not group.leads}
    options["every"] = number if unit == "step" else 0
    if not group.alone:
        options["agree"] = group.agree
    if config.profile and group.leads:
        options["watch"] = stack.enter_context(Profile(session.backend.trace, session.folder / "profile")).after
    return options
