"""From a configuration to a training that is ready to start: plan it, open its run folder, start the session."""

from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from platform import python_version
from typing import Any, NamedTuple

from rich.console import Console

from data import Dataset, UserError
from experiment.backend import Backend
from experiment.config import Config, to_json
from experiment.console import say
from experiment.distributed.agreement import Group
from experiment.loop.session import Session
from experiment.loop.task import Task, prepare
from experiment.loop.whitening import whitened
from experiment.registry import Entry
from experiment.runs import checkpoint
from experiment.runs.checkpoint import Checkpoint
from experiment.runs.folder import make_folder, update_config, write_rows
from experiment.runs.lock import locked
from experiment.runs.resume import check_same, fingerprint, open_checkpoint
from experiment.weights.pretrained import as_built, settle, start


class Plan(NamedTuple):
    """A training that has passed all checks that need no run folder."""

    framework: str
    backend: Backend
    config: Config
    task: Task
    entry: Entry
    model: Any
    variables: Any  # the initial ones


class OpenedRun(NamedTuple):
    """A run folder to resume in; it is locked."""

    folder: Path
    checkpoint: Checkpoint | None  # None: none was saved yet, so the training starts at its beginning


def set_up(
    framework: str,
    backend: Backend,
    config: Config,
    group: Group,
    console: Console,
    stack: ExitStack,
    dataset: Dataset | None = None,
    *,
    saves: bool = True,
) -> tuple[Session | None, Any]:
    """Return the session and its initial variables; no session in a dry run.

    The run folder is locked until `stack` is closed; without `saves` there is none. Of several processes only process
    0 makes, locks and changes it.
    """
    planned = plan(framework, backend, config, dataset)
    opened = open_run(planned, group, stack)
    planned, source = load_weights(planned, resumes=bool(opened and opened.checkpoint))
    about = _about(planned)
    _introduce(console, planned.task, about)
    if source:
        say(console, source)
    if config.dry_run:
        print(f"dry run, nothing written; would train with {to_json(planned.config)}", end="")
        return None, planned.variables
    if not saves:
        fixed = (backend, planned.model, planned.config, planned.task, Path(), about, {})
        return Session(*fixed, console, group, None), planned.variables
    return start_session(planned, opened, about, group, console, stack), planned.variables


def plan(framework: str, backend: Backend, config: Config, dataset: Dataset | None = None) -> Plan:
    """Load the data, build the network and check that they fit.

    Raises:
        UserError: they do not fit, or the configuration cannot be trained on these devices.
    """
    config = settle(config, backend.MODELS)
    task = prepare(config, backend.MODELS, dataset=dataset)
    entry = as_built(task.entry, config, backend.MODELS)
    model, variables = backend.create(entry, len(task.dataset.classes), config.seed)
    _check_batch(config, task, backend.export(variables), backend.replicas())
    return Plan(framework, backend, config, task, entry, model, variables)


def open_run(planned: Plan, group: Group, stack: ExitStack) -> OpenedRun | None:
    """Lock the run folder to resume in and choose its checkpoint; None if the training needs a new folder.

    Raises:
        UserError: another process uses the folder, or every checkpoint in it is damaged.
    """
    config, folder = planned.config, planned.config.out
    exists = group.broadcast(lambda: bool(config.resume and folder and folder.exists()))
    if not exists or not folder or config.dry_run:
        return None
    if group.leads:
        stack.enter_context(locked(folder))
    found = open_checkpoint(folder) if group.leads else None
    path = group.broadcast(lambda: str(found.path.absolute()) if found else "")
    if path and not group.leads:  # process 0 chooses the checkpoint, and all processes read it
        found = checkpoint.load(Path(path))
    return OpenedRun(folder, found)


def load_weights(planned: Plan, *, resumes: bool) -> tuple[Plan, str]:
    """Return the plan with the initial weights of --weights, or whitened, and a line about them.

    A training that resumes from a checkpoint takes its weights from there.
    """
    if resumes:
        return planned, ""
    backend = planned.backend
    variables, source = start(backend, planned.variables, planned.config)
    if planned.entry.whitens and not source:
        task = planned.task
        weights = whitened(backend.export(variables), planned.entry.whitens, task.dataset, task.splits["train"])
        variables = backend.restore(variables, weights)
    return planned._replace(variables=variables), source


def start_session(
    planned: Plan, opened: OpenedRun | None, about: dict[str, Any], group: Group, console: Console, stack: ExitStack
) -> Session:
    """Make the run folder, or check that the opened one is of the same training.

    Raises:
        UserError: the folder exists already, or its training is another one.
    """
    folder, found = opened or OpenedRun(Path(), None)
    if group.leads and not opened:
        folder = make_folder(planned.config, planned.framework)
        stack.enter_context(locked(folder))
    data = fingerprint(planned.task)
    group.require_same("training examples", data)
    if found and group.leads:
        check_same(found, about, data)
        checkpoint.set_links(found.path, found.manifest)  # the process before may have ended before it had set them
        say(console, f"goes on from {found.path}, after step {found.manifest['step']:,}")
    if opened and group.leads:
        update_config(folder, planned.config)
        write_rows(folder, found.manifest["rows"] if found else [])
    return Session(
        planned.backend, planned.model, planned.config, planned.task, folder, about, data, console, group, found
    )


def _check_batch(config: Config, task: Task, weights: dict[str, Any], replicas: int) -> None:
    if config.batch_size == 1 and any("num_batches_tracked" in name for name in weights):
        raise UserError(f"--batch-size is 1, but {config.model_name} has BatchNorm, which needs at least 2 to train")
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


def _about(planned: Plan) -> dict[str, Any]:
    backend, config = planned.backend, planned.config
    device, versions = backend.describe()
    return {
        "framework": planned.framework,
        "model": config.model_name,
        "dataset": config.dataset_name,
        "seed": config.seed,
        "parameters": backend.count_parameters(planned.model, planned.variables),
        "device": device,
        "devices": backend.replicas(),
        "versions": {"python": python_version(), "numpy": version("numpy"), **versions},
        "environment": backend.settings(),
    }


def _introduce(console: Console, task: Task, about: dict[str, Any]) -> None:
    sizes = ", ".join(f"{len(split.labels):,} {name}" for name, split in task.splits.items())
    say(console, f"{about['model']}: {about['parameters']:,} parameters, {about['framework']} on {about['device']}")
    if (count := about["devices"]) > 1:
        say(console, f"{count} devices share each batch")
    say(console, f"{about['dataset']}: {sizes} examples")
    if task.note:
        say(console, task.note)
    for line in task.warnings:
        say(console, f"warning: {line}")
