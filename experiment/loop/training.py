"""Running trainings that are ready to start: one, or several at once as one program."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple, cast

from data import UserError
from data.terminal import SIGNALLED
from data.workers import Workers
from experiment.backend import EnsembleBackend, LoopState
from experiment.config import Config, every
from experiment.console import make_console
from experiment.loop.early_stopping import metric_name
from experiment.loop.frozen import with_features
from experiment.loop.monitor import Monitor
from experiment.loop.profiling import Profile
from experiment.loop.session import Session
from experiment.loop.task import training_loader
from experiment.loop.tensorboard import EventWriter
from experiment.loop.trainer import Trainer
from experiment.runs.atomic import FolderError
from experiment.runs.summary import report, save


class Result(NamedTuple):
    """How a training has ended."""

    code: int  # the command's exit code
    summary: dict[str, Any]  # the content of summary.json
    error: str = ""  # why it failed, as one of several trainings that go on without it


def train(session: Session, variables: Any) -> Result:
    """Train and complete the run folder; after a signal, leave one that can be resumed."""
    session = with_features(session, variables)
    config, console, group = session.config, session.console, session.group
    loader: Any = training_loader(config, session.task, group.process.rank, group.process.size)
    with ExitStack() as stack:  # until everything is saved: a signal must not interrupt that
        if config.workers:
            loader = stack.enter_context(Workers(loader, config.workers))
        options = _monitor_options(session, stack)
        monitor = stack.enter_context(Monitor(len(loader), config.epochs, console, **options))
        past = session.start.manifest["rows"] if session.start else []
        events = config.tensorboard and group.leads
        watcher = (
            stack.enter_context(EventWriter(session.folder, _metrics(config), past, len(loader))) if events else None
        )
        outcome = Trainer(session, loader, monitor, watcher).run(variables)
        code = SIGNALLED + monitor.stopped if outcome.interrupted else 0
        scores, summary = save(session, outcome) if group.leads else ({}, {})
        group.barrier()  # the other processes keep catching signals until then
    report(session, outcome, scores)
    return Result(code, summary)


def train_together(ready: Sequence[tuple[Session, Any]]) -> list[Result]:
    """Train several networks at once, as one program; complete the run folder of each, as `train` does.

    One that fails is left behind: its numbers are computed, but nobody reads them.
    """
    first, variables = ready[0][0], [variables for _, variables in ready]
    sessions, quiet = [session for session, _ in ready], make_console(quiet=True)
    loaders = [training_loader(session.config, session.task) for session in sessions]
    with ExitStack() as stack:
        options, size = _monitor_options(first, stack), len(loaders[0])
        lead = stack.enter_context(Monitor(size, first.config.epochs, first.console, **options))
        options.pop("watch", None)
        others = [Monitor(size, first.config.epochs, quiet, **options) for _ in sessions[1:]]
        watchers = [
            stack.enter_context(EventWriter(session.folder, _metrics(first.config)))
            if first.config.tensorboard
            else None
            for session in sessions
        ]
        monitors = [lead, *others]
        trainers = [Trainer(*each) for each in zip(sessions, loaders, monitors, watchers, strict=True)]
        configs = [session.config for session in sessions]
        for states in cast(EnsembleBackend, first.backend).fit_many(
            first.model, variables, loaders, configs, monitors
        ):
            for trainer, state in zip(trainers, states, strict=True):
                _handle(trainer, state)
            if all(trainer.failed or trainer.over for trainer in trainers):
                break
        ended = [trainer for trainer in trainers if not trainer.failed]
        outcomes = [trainer.outcome() for trainer in ended]
        saved = [save(trainer.session, outcome) for trainer, outcome in zip(ended, outcomes, strict=True)]
    for trainer, outcome, (scores, _) in zip(ended, outcomes, saved, strict=True):
        report(trainer.session, outcome, scores)
    codes = [SIGNALLED + lead.stopped if outcome.interrupted else 0 for outcome in outcomes]
    results = iter([Result(code, summary) for code, (_, summary) in zip(codes, saved, strict=True)])
    return [Result(0, {}, trainer.failed) if trainer.failed else next(results) for trainer in trainers]


def _handle(trainer: Trainer, state: LoopState) -> None:
    """Handle the state of one of several trainings, unless it is over: by --patience, or because it has failed."""
    if trainer.failed or trainer.over:
        return
    try:
        trainer.handle(state)
    except FolderError:
        raise
    except UserError as error:
        trainer.failed = str(error)
        trainer.monitor.give_up()


def _metrics(config: Config) -> tuple[str, ...]:
    """Return the metrics that TensorBoard's files hold."""
    return ("loss", "accuracy", metric_name(config))


def _steps_left(session: Session) -> range:
    """Return the numbers of the training's steps that are still to be done, from 1."""
    done = session.start.manifest["step"] if session.start else 0
    loader = training_loader(session.config, session.task)
    return range(done + 1, session.config.epochs * len(loader) + 1)


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
        profile = Profile(session.backend.trace, session.folder / "profile", _steps_left(session), session.console)
        options["watch"] = stack.enter_context(profile).after
    return options
