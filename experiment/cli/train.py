"""The command that trains: `python -m jaxnets.train` and `python -m torchnets.train`."""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from data import AUGMENTATIONS, DATASETS, UserError, find
from data.registry import lookup
from experiment import config as configs
from experiment.cli.command import command, load_framework
from experiment.cli.console_scripts import module_command
from experiment.cli.sweep import in_turn, repeat, trainings_at_once, tune
from experiment.config import Config, given
from experiment.console import say
from experiment.distributed.agreement import Group
from experiment.distributed.environment import read_environment
from experiment.distributed.launch import launch, silence
from experiment.loop.setup import set_up
from experiment.loop.tensorboard import check_installed
from experiment.loop.training import Result, train, train_together
from experiment.model_summary import print_model_summary
from experiment.recipes import recipes
from experiment.runs.folder import SUMMARY, check_free
from experiment.runs.resume import find_run
from experiment.weights.pretrained import as_built


def main(framework: str) -> None:
    """Run the command with "jaxnets" or "torchnets"."""
    command(lambda: _start(framework, sys.argv[1:]))


def _start(framework: str, argv: list[str]) -> int:
    own, wanted = read_environment(os.environ), given(argv, "--processes")
    if own.size == 1 and wanted.isdecimal() and int(wanted) > 1:
        return launch(int(wanted), module_command(f"{framework}.train", *argv))
    with Group(own) as group:
        if not group.leads:
            silence()
        return _main(framework, argv, group)


def _main(framework: str, argv: list[str], group: Group) -> int:
    found, console = group.broadcast(lambda: str(find_run(argv, framework) or "")), Console()
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
        return print_model_summary(console, backend.summarize(entry))
    if config.tensorboard:
        check_installed()
    if not resumed:
        group.broadcast(lambda: check_free(config))
    elif group.broadcast((resumed / SUMMARY).exists):
        say(console, f"{resumed} has finished: nothing to go on with")
        return 0
    find(config.dataset, config.data_dir)
    if not group.alone:
        backend.join(group.process, *group.coordinator())
    backend.set_precision(config)

    def train_one(config: Config) -> Result:
        with ExitStack() as stack:
            session, variables = set_up(framework, backend, config, group, console, stack)
            return train(session, variables) if session else Result(0, {})

    def train_all(configs: Sequence[Config]) -> list[Result]:
        consoles = [console, *(Console(quiet=True) for _ in configs[1:])]  # only the first prints
        with ExitStack() as stack:
            ready = [
                set_up(framework, backend, one, group, speaker, stack)
                for one, speaker in zip(configs, consoles, strict=True)
            ]
            return train_together([(session, variables) for session, variables in ready if session])

    if (config.tune or config.seeds > 1) and not config.dry_run:
        count, entry = trainings_at_once(config), lookup("model", config.model, backend.MODELS)
        at_once = count > 1 and backend.trains_together(config, count, entry.num_params)
        how = train_all if at_once else in_turn(train_one)
        if config.tune:
            return tune(framework, config, console, how, count if at_once else 1)
        return repeat(framework, config, console, how, at_once=at_once)
    return train_one(config).code


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
    del options["data_dir"]  # may differ between machines
    group.require_same("options", options)
