"""The source of a network of the user's own: a run keeps a copy and its hash, and finds it again."""

import dataclasses
from pathlib import Path
from typing import Any

from data.errors import UserError
from experiment.options import Config
from experiment.own_network import Target, find, is_own, is_reference, parse_target
from experiment.own_source import digest
from experiment.runs.atomic import write
from experiment.runs.kinds import CONFIG, SOURCE, read_config


def describe_source(config: Config) -> dict[str, Any]:
    """Return {"source": hashes of the network's file and of those that it imports} for config.json, or nothing."""
    hashes = {name: digest(path) for name, path in _files(config.model).items()}
    return {SOURCE: hashes} if hashes else {}


def save_source(folder: Path, config: Config) -> None:
    """Copy the files of the network into the run folder."""
    for name, path in _files(config.model).items():
        copy = folder / SOURCE / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        write(copy, path.read_bytes())


def locate(config: Config, run: Path, model: str | None = None) -> tuple[Config, list[str]]:
    """Return the configuration of a run with the network's file where it is now, and what to warn of.

    Args:
        config: of the run.
        run: its folder.
        model: where the network is now, as given with --model; None: where it was.

    Raises:
        UserError: it is not there, or `model` is given for a run of a registered network.
    """
    if model is not None:
        if not is_own(config.model):
            raise UserError("--model goes with --weights FILE; a run folder says that itself")
        config = dataclasses.replace(config, model=model)
    if not is_reference(config.model):
        return config, []
    target = parse_target(config.model)
    if target.source.endswith(".py") and not Path(target.source).expanduser().is_file():
        raise _moved(target, run)
    before, now = read_config(run / CONFIG).get(SOURCE) or {}, describe_source(config).get(SOURCE, {})
    changed = [name for name, old in before.items() if name in now and now[name] != old]
    where = f"as it was: {run / SOURCE}"
    return config, [f"{name} has changed since the run was trained; {where}" for name in changed]


def _moved(target: Target, run: Path) -> UserError:
    name = Path(target.source).name
    text = (
        f"{run}: its network is {target.text}, but that file is not there; --model FOLDER/{name}:{target.short} says"
    )
    text += " where it is now"
    copy = run / SOURCE / name
    return UserError(f"{text}, and {copy} is a copy from the training" if copy.is_file() else text)


def _files(model: str) -> dict[str, Path]:
    """Return the source files of a network of the user's own by their names in the run folder."""
    if not is_own(model):
        return {}
    target = parse_target(model)
    try:
        _, loaded = find(target)
    except UserError:  # of a training that is refused for it
        return {}
    files = list(loaded.sources)
    return {str(path.relative_to(files[0].parent)): path for path in files}
