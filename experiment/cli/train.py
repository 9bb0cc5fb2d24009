"""The command that trains: `python -m jaxnets.train` and `python -m torchnets.train`."""

import json
import os
import sys
from functools import partial
from pathlib import Path

from data import AUGMENTATIONS, DATASETS, UserError, find
from data.registry import lookup
from data.terminal import command, outlive
from experiment import config as configs
from experiment.allocator import keep_freed_memory
from experiment.backend import Backend
from experiment.cli.command import load_framework
from experiment.cli.console_scripts import module_command
from experiment.cli.search import import_optuna, tune
from experiment.cli.seeds import repeat
from experiment.cli.sweep import Trainings, open_sweep, trainings_at_once
from experiment.config import Config, given
from experiment.console import make_console, say
from experiment.distributed.agreement import Group
from experiment.distributed.environment import read_environment
from experiment.distributed.launch import launch, silence
from experiment.loop.runner import Runner
from experiment.loop.task import prepare
from experiment.loop.tensorboard import check_installed
from experiment.model_summary import print_model_summary
from experiment.own_network import is_own
from experiment.recipes import recipes
from experiment.registry import Entry
from experiment.runs.folder import check_free
from experiment.runs.kinds import identify
from experiment.runs.resume import find_run
from experiment.runs.source import locate
from experiment.weights.pretrained import as_built


def main(framework: str) -> None:
    """Run the command with "jaxnets" or "torchnets"."""
    command(lambda: _start(framework, sys.argv[1:]))


def _start(framework: str, argv: list[str]) -> int:
    keep_freed_memory()
    own, wanted = read_environment(os.environ), given(argv, "--processes")
    if own.size == 1 and wanted.isdecimal() and int(wanted) > 1:
        return launch(int(wanted), module_command(f"{framework}.train", *argv))
    with Group(own) as group:
        if not group.leads:
            silence()
        return _main(framework, argv, group)


def _main(framework: str, argv: list[str], group: Group) -> int:
    found, console = group.broadcast(lambda: str(find_run(argv, framework) or "")), make_console()
    resumed = identify(Path(found)) if found else None
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
        return print_model_summary(console, backend.summarize(_entry(config, backend)))
    if config.tensorboard:
        check_installed()
    if not resumed:
        group.broadcast(lambda: check_free(config))
    elif group.broadcast(resumed.is_finished):
        say(console, f"{resumed.path} has finished: nothing to go on with")
        return 0
    if resumed:
        config, lines = locate(config, resumed.path)
        for line in lines:
            print(f"warning: not bit for bit what one run would be: {line}", file=sys.stderr)
    if not config.dry_run:
        outlive()  # the terminal is no part of the run
    find(config.dataset, config.data_dir)
    if not group.alone:
        backend.join(group.process, *group.coordinator())
    backend.set_precision(config)

    runner = Runner(framework, backend, group, console)
    if config.dry_run or not (config.tune or config.seeds > 1):
        return runner.train(config).code
    return _sweep(runner, config)


def _entry(config: Config, backend: Backend) -> Entry:
    """Return the entry of the network; one of the user's own is built for the dataset."""
    if not is_own(config.model):
        return as_built(lookup("model", config.model, backend.MODELS), config, backend.MODELS)
    task = prepare(config, backend.MODELS)
    entry = as_built(task.entry, config, backend.MODELS)
    return entry._replace(build=partial(entry.build, num_classes=len(task.dataset.classes)))


def _sweep(runner: Runner, config: Config) -> int:
    """Train with several seeds, or search; resume it if its folder is there."""
    if config.tune:
        import_optuna()  # before anything is made
    backend, console = runner.backend, runner.console
    count, entry = trainings_at_once(config), lookup("model", config.model, backend.MODELS)
    at_once = count > 1 and backend.trains_together(config, count, entry.num_params)
    trainings = Trainings(runner.framework, console, runner.train, runner.train_together if at_once else None)
    with open_sweep(runner.framework, config, count if at_once else 1) as folder:
        if config.tune:
            return tune(config, folder, console, trainings)
        return repeat(config, folder, console, trainings, at_once=at_once)


def listing(config: Config) -> list[str]:
    """Return the lines of a --list option that needs no framework; none if there is no such option."""
    if config.list_datasets:
        return [f"{name:16}{source.about}" for name, source in DATASETS.items()]
    if config.list_augmentations:
        return [f"{name:12}{entry.kind:11}{entry.about}" for name, entry in AUGMENTATIONS.items()]
    if config.list_recipes:
        return [
            f"{name:26}{recipe.about} ({recipe.source}); {recipe.expected or 'not yet run'}"
            for name, recipe in recipes().items()
        ]
    return []


def _check_processes(config: Config, group: Group) -> None:
    """Check that several processes can train this, with the same options as process 0."""
    if config.processes not in (1, group.process.size):
        raise UserError(f"--processes is {config.processes}, but {group.process.size} were started; leave it out")
    if config.seeds > 1 or config.tune:
        raise UserError("several processes take one training at a time; leave out --seeds and --tune")
    options = json.loads(configs.to_json(config)) | {"out": str(config.out or ""), "resume": config.resume}
    for folder in ("data_dir", "cache_dir"):  # may differ between machines
        del options[folder]
    group.require_same("options", options)
