"""The curves of trainings: of run folders, or of the recipes that were trained on a GPU."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from data import UserError
from experiment.cli.compare import read
from experiment.runs.folder import METRICS
from experiment.runs.kinds import CONFIG, read_config
from parity.overview.sources import RESULTS, Figures, read_json, shown, source

RECIPES = RESULTS / "recipes-gpu-epochs.json"
SPLITS = ("train", "validation", "test")
FRAMEWORKS = ("jaxnets", "torchnets")


def read_trainings(folders: Sequence[Path]) -> tuple[Figures | None, list[str]]:
    """Return the trainings of run folders, those of the recipes if none is given, and what is missing.

    Raises:
        UserError: a folder is no run, or its run is not finished.
    """
    if folders:
        runs = [read_folder(folder) for folder in folders]
        return {"source": {"file": ", ".join(map(str, folders))}, "runs": runs}, _alone(runs)
    if not RECIPES.is_file():
        return None, [f"training curves: no run folder is named, and there is no {shown(RECIPES)} here"]
    found = read_json(RECIPES)
    runs = list(map(_of_recipe, chosen(found["runs"])))
    return {"source": source(RECIPES, found | {"machine": found["device"]}), "runs": runs}, _alone(runs)


def _alone(runs: Sequence[Figures]) -> list[str]:
    """Return a line for each picture that has one framework only, and for each run without an epoch."""
    frameworks: dict[str, set[str]] = {}
    for run in runs:
        frameworks.setdefault(run["what"], set()).add(run["framework"])
    lacks = [
        f"training curves of {what}: {'torchnets' if 'jaxnets' in found else 'jaxnets'} is missing"
        for what, found in frameworks.items()
        if len(found) == 1
    ]
    return lacks + [f"training curves: no epoch in {run['folder']}" for run in runs if not run["splits"]]


def read_folder(folder: Path) -> Figures:
    """Return a finished run: what was trained, and its figures after every epoch.

    Raises:
        UserError: the folder is no run, the run is not finished, or a file of it is damaged.
    """
    run = read(folder)
    try:
        splits = _splits(run.rows)
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{folder / METRICS}: a line is not that of an epoch: epoch, split, loss, accuracy") from None
    about = {name: run.summary.get(name) for name in ("device", "versions", "examples_per_second", "seconds")}
    what = f"{run.config.model_name} on {run.config.dataset_name}"
    # Runs of the first versions do not say which framework trained them.
    framework = run.summary.get("framework") or read_config(folder / CONFIG).get("framework") or "unknown"
    return {"what": what, "framework": framework, "folder": str(folder), **about, "splits": splits}


def _splits(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, list[Any]]]:
    splits: dict[str, dict[str, list[Any]]] = {}
    for row in rows:
        of_split = splits.setdefault(row["split"], {"epoch": [], "loss": [], "accuracy": []})
        for name, values in of_split.items():
            values.append(row[name])
    return splits


def _of_recipe(run: Mapping[str, Any]) -> Figures:
    splits = {
        split: {"epoch": list(range(1, len(values) + 1)), "accuracy": list(values)}
        for split, values in run["accuracy"].items()
    }
    options = {"options": run["options"]} if run.get("options") else {}
    return {"what": run["run"], "framework": run["framework"], **options, "splits": splits}


def chosen(runs: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return for each recipe and framework its longest finished training, with the recipe's own options if any."""
    best: dict[tuple[str, str], Mapping[str, Any]] = {}
    for run in runs:
        key = (run["run"], run["framework"])
        if run["finished"] and (key not in best or _rank(run) > _rank(best[key])):
            best[key] = run
    return [best[key] for key in sorted(best)]


def _rank(run: Mapping[str, Any]) -> tuple[bool, int]:
    return "options" not in run, run["epochs"]
