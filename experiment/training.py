"""The command that trains: `python -m jaxnets.train`, and `torchnets.train` with the other framework behind it."""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from types import ModuleType
from typing import Any

from rich.console import Console

from data import AUGMENTATIONS, DATASETS, UserError, find
from data.registry import lookup
from data.workers import Workers
from experiment import checkpoint, run
from experiment import config as configs
from experiment.checkpoint import Checkpoint
from experiment.commands import module_command
from experiment.config import Config, given
from experiment.durable import locked
from experiment.events import Events, check_installed
from experiment.group import Group
from experiment.learning import Course, Session
from experiment.monitor import Monitor
from experiment.outline import print_outline
from experiment.pretrained import as_built, settle, start
from experiment.processes import launch, place, silence
from experiment.profiling import Profile
from experiment.repeated import Result, in_turn, repeat, trainings_at_once, tune
from experiment.results import report, save
from experiment.resume import check_same, find_run, fingerprint, open_checkpoint
from experiment.shell import (
    SIGNALLED,
    Task,
    command,
    load_framework,
    prepare,
    say,
    training_loader,
)
from experiment.whitening import whitened


def main(framework: str) -> None:
    """Run the command with "jaxnets" or "torchnets"."""
    command(lambda: _start(framework, sys.argv[1:]))


def _start(framework: str, argv: list[str]) -> int:
    own, wanted = place(os.environ), given(argv, "--processes")
    if own.size == 1 and wanted.isdecimal() and int(wanted) > 1:
        return launch(int(wanted), module_command(f"{framework}.train", *argv))
    with Group(own) as group:
        if not group.leads:
            silence()
        return _main(framework, argv, group)


def _main(framework: str, argv: list[str], group: Group) -> int:
    found, console = group.first(lambda: str(find_run(argv, framework) or "")), Console()
    resumed = Path(found) if found else None
    config = configs.parse(argv, f"python -m {framework}.train", resumed)
    if not group.alone:
        _check_processes(config, group)
    if lines := listing(config):
        print("\n".join(lines))
        return 0
    backend = load_framework(framework)
    if config.list_models:
        for name, entry in backend.MODELS.items():
            print(f"{name:20}{'x'.join(map(str, entry.input_shape)):12}{entry.num_params:>12,}  {entry.source}")
        return 0
    if config.summary:
        entry = as_built(lookup("model", config.model, backend.MODELS), config, backend.MODELS)
        return print_outline(console, backend.outline(entry))
    if config.tensorboard:
        check_installed()
    if not resumed:
        group.first(lambda: run.check_free(config))
    elif group.first((resumed / run.SUMMARY).exists):
        say(console, f"{resumed} has finished: nothing to go on with")
        return 0
    find(config.dataset, config.data_dir)
    if not group.alone:
        backend.join(group.place, *group.coordinator())
    backend.set_precision(config)

    def train_one(config: Config) -> Result:
        with ExitStack() as stack:
            session, variables = begin(framework, backend, config, group, console, stack)
            return _train(session, variables) if session else Result(0, {})

    def train_all(configs: Sequence[Config]) -> list[Result]:
        consoles = [console, *(Console(quiet=True) for _ in configs[1:])]  # one speaks for all
        with ExitStack() as stack:
            begun = [
                begin(framework, backend, one, group, speaker, stack)
                for one, speaker in zip(configs, consoles, strict=True)
            ]
            return _train_together([(session, variables) for session, variables in begun if session])

    if (config.tune or config.seeds > 1) and not config.dry_run:
        count, entry = trainings_at_once(config), lookup("model", config.model, backend.MODELS)
        at_once = count > 1 and backend.trains_together(config, count, entry.num_params)
        how = train_all if at_once else in_turn(train_one)
        if config.tune:
            return tune(framework, config, console, how, count if at_once else 1)
        return repeat(framework, config, console, how, at_once=at_once)
    return train_one(config).code


def listing(config: Config) -> list[str]:
    """Return what a --list option that needs no framework asks for; nothing if there is none."""
    if config.list_datasets:
        return [f"{name:16}{source.about}" for name, source in DATASETS.items()]
    if config.list_augmentations:
        return [f"{name:12}{entry.kind:11}{entry.about}" for name, entry in AUGMENTATIONS.items()]
    if config.list_recipes:
        return [
            f"{name:26}{recipe.about} ({recipe.source}); {recipe.expected or 'not yet run'}"
            for name, recipe in configs.recipes().items()
        ]
    return []


def begin(
    framework: str, backend: ModuleType, config: Config, group: Group, console: Console, stack: ExitStack
) -> tuple[Session | None, Any]:
    """Check all that a training needs, say what it will be, and make its folder; no session in a dry run.

    The folder is locked until `stack` is closed. Of several processes only the first makes, locks and changes it.
    """
    config, folder, found = settle(config, backend.MODELS), config.out, None
    resumed = group.first(lambda: bool(config.resume and config.out and config.out.exists()))
    task = prepare(config, backend.MODELS)
    entry = as_built(task.entry, config, backend.MODELS)
    model, variables = backend.create(entry, len(task.dataset.classes), config.seed)
    _check_batch(config, task, backend.export(variables), backend.replicas())
    if resumed and folder and not config.dry_run:
        if group.leads:
            stack.enter_context(locked(folder))
        found = _open(folder, group)
    variables, loaded = (variables, "") if found else start(backend, variables, config)
    if entry.whitens and not (found or loaded):
        weights = whitened(backend.export(variables), entry.whitens, task.dataset, task.splits["train"])
        variables = backend.restore(variables, weights)
    about = _about(framework, backend, config, backend.count_parameters(model, variables))
    _introduce(console, task, about)
    if loaded:
        say(console, loaded)
    if config.dry_run:
        print(f"dry run, nothing written; would train with {configs.to_json(config)}", end="")
        return None, variables
    if group.leads and not (resumed and folder):
        folder = run.make_folder(config, framework)
        stack.enter_context(locked(folder))
    data = fingerprint(task)
    group.require_same("training examples", data)
    if found and group.leads:
        check_same(found, about, data)
        say(console, f"goes on from {found.path}, after step {found.manifest['step']:,}")
    if resumed and folder and group.leads:
        run.write_rows(folder, found.manifest["rows"] if found else [])
    return Session(backend, model, config, task, folder or Path(), about, data, console, group, found), variables


def _open(folder: Path, group: Group) -> Checkpoint | None:
    """Return the checkpoint to go on from: process 0 chooses, all read it."""
    found = open_checkpoint(folder) if group.leads else None
    path = group.first(lambda: str(found.path.absolute()) if found else "")
    return found if group.leads or not path else checkpoint.load(Path(path))


def _train(session: Session, variables: Any) -> Result:
    """Train and leave a whole run folder; after a signal, one that can be gone on with."""
    config, console, group = session.config, session.console, session.group
    loader: Any = training_loader(config, session.task, group.place.rank, group.place.size)
    with ExitStack() as stack:  # until all is saved: a signal must not cut that short
        if config.workers:
            loader = stack.enter_context(Workers(loader, config.workers))
        options = _watching(session, stack)
        monitor = stack.enter_context(Monitor(len(loader), config.epochs, console, **options))
        watcher = stack.enter_context(Events(session.folder)) if config.tensorboard and group.leads else None
        outcome = Course(session, loader, monitor, watcher).run(variables)
        code = SIGNALLED + monitor.stopped if outcome.interrupted else 0
        scores, summary = save(session, outcome) if group.leads else ({}, {})
        group.first(lambda: None)  # the others' monitors stand until then, too
    report(session, outcome, scores)
    return Result(code, summary)


def _train_together(begun: Sequence[tuple[Session, Any]]) -> list[Result]:
    """Train several at once, in one program; leave a folder for each, as if it had been alone."""
    first, variables = begun[0][0], [variables for _, variables in begun]
    sessions, quiet = [session for session, _ in begun], Console(quiet=True)
    loaders = [training_loader(session.config, session.task) for session in sessions]
    with ExitStack() as stack:
        options, size = _watching(first, stack), len(loaders[0])
        lead = stack.enter_context(Monitor(size, first.config.epochs, first.console, **options))
        options.pop("watch", None)
        others = [Monitor(size, first.config.epochs, quiet, **options) for _ in sessions[1:]]
        watchers = [
            stack.enter_context(Events(session.folder)) if first.config.tensorboard else None for session in sessions
        ]
        monitors = [lead, *others]
        courses = [Course(*each) for each in zip(sessions, loaders, monitors, watchers, strict=True)]
        configs = [session.config for session in sessions]
        for points in first.backend.fit_many(first.model, variables, loaders, configs, monitors):
            for course, point in zip(courses, points, strict=True):
                if not course.over:  # as it may be before the others, by --patience
                    course.see(point)
            if all(course.over for course in courses):
                break
        outcomes = [course.outcome() for course in courses]
        saved = [save(session, outcome) for session, outcome in zip(sessions, outcomes, strict=True)]
    for session, outcome, (scores, _) in zip(sessions, outcomes, saved, strict=True):
        report(session, outcome, scores)
    codes = [SIGNALLED + lead.stopped if outcome.interrupted else 0 for outcome in outcomes]
    return [Result(code, summary) for code, (_, summary) in zip(codes, saved, strict=True)]


def _watching(session: Session, stack: ExitStack) -> dict[str, Any]:
    """Return what a training's monitor is to do; what it opens for that is closed with `stack`."""
    config, group = session.config, session.group
    number, unit = configs.every(config)
    # Of several processes the first alone looks at the numbers, and tells the others what follows from them.
    options: dict[str, Any] = {"skip": config.on_nan == "skip" or not group.leads}
    options["every"] = number if unit == "step" else 0
    if not group.alone:
        options["agree"] = group.agree
    if config.profile and group.leads:
        options["watch"] = stack.enter_context(Profile(session.backend.trace, session.folder / "profile")).after
    return options


def _check_processes(config: Config, group: Group) -> None:
    """Refuse what several processes cannot train, and options that are not those of process 0."""
    if config.processes not in (1, group.place.size):
        raise UserError(f"--processes is {config.processes}, but {group.place.size} were started; leave it out")
    if config.seeds > 1 or config.tune:
        raise UserError("several processes take one training at a time; leave out --seeds and --tune")
    options = json.loads(configs.to_json(config)) | {"out": str(config.out or ""), "resume": config.resume}
    del options["data_dir"]  # may be another on each machine
    group.require_same("options", options)


def _check_batch(config: Config, task: Task, weights: dict[str, Any], replicas: int) -> None:
    if config.batch_size == 1 and any("num_batches_tracked" in name for name in weights):
        raise UserError(f"--batch-size is 1, but {config.model} has BatchNorm, which needs at least 2 to train")
    examples = len(task.splits["train"].labels)
    if config.batch_size > examples:
        raise UserError(f"--batch-size is {config.batch_size}, but there are only {examples:,} training examples")
    if rest := config.batch_size % replicas:
        sizes = [size for size in (config.batch_size - rest, config.batch_size - rest + replicas) if size]
        advice = f"take {' or '.join(map(str, sizes))}"
        raise UserError(f"--batch-size is {config.batch_size}, which {replicas} devices cannot share evenly; {advice}")
    if config.data_on == "device" and replicas > 1:
        raise UserError(f"--data-on device is for one, but {replicas} devices share each batch; leave it out")
    if config.accumulate > 1 and replicas > 1:
        raise UserError(f"--accumulate takes a batch in pieces, but {replicas} devices share it already; leave it out")


def _about(framework: str, backend: ModuleType, config: Config, parameters: int) -> dict[str, Any]:
    device, versions = backend.describe()
    return {
        "framework": framework,
        "model": config.model,
        "dataset": config.dataset_name,
        "seed": config.seed,
        "parameters": parameters,
        "device": device,
        "devices": backend.replicas(),
        "versions": {"python": python_version(), "numpy": version("numpy"), **versions},
    }


def _introduce(console: Console, task: Task, about: dict[str, Any]) -> None:
    sizes = ", ".join(f"{len(split.labels):,} {name}" for name, split in task.splits.items())
    say(console, f"{about['model']}: {about['parameters']:,} parameters, {about['framework']} on {about['device']}")
    if (count := about["devices"]) > 1:
        say(console, f"{count} devices share each batch")
    say(console, f"{about['dataset']}: {sizes} examples")
    if task.note:
        say(console, task.note)
