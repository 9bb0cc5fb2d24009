"""Many trainings for one answer: with several seeds, or in search of the best options."""

import dataclasses
import json
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console

from data import UserError
from experiment.config import Config, Range, parse_space
from experiment.console import say
from experiment.loop.training import Result
from experiment.options import MAPPED
from experiment.runs import atomic, plots
from experiment.runs import folder as run_folder

Train = Callable[[Config], Result]
TRIALS = 8  # of --tune that are trained at once if they run as one program
TrainAll = Callable[[Sequence[Config]], list[Result]]  # stops at the first that fails


def in_turn(train: Train) -> TrainAll:
    """Return a function that trains one configuration after the other."""

    def train_all(configs: Sequence[Config]) -> list[Result]:
        found = []
        for config in configs:
            found.append(train(config))
            if found[-1].code:
                break
        return found

    return train_all


def repeat(framework: str, config: Config, console: Console, train_all: TrainAll, *, at_once: bool) -> int:
    """Train with several seeds, each in its own folder inside one; print and write mean and standard deviation."""
    folder = run_folder.make_folder(config, framework)
    seeds = range(config.seed, config.seed + config.seeds)
    found = train_all([dataclasses.replace(config, seed=seed, seeds=1, out=folder / f"seed-{seed}") for seed in seeds])
    if code := next((result.code for result in found if result.code), 0):
        return code
    summary = found[0].summary | {"seeds": [result.summary["seed"] for result in found]}
    for split in ("train", "validation", "test"):
        values = [result.summary[split]["accuracy"] for result in found]
        mean, deviation = statistics.mean(values), statistics.stdev(values)
        summary[split] = {"accuracy": mean, "deviation": deviation, "accuracies": values}
        say(console, f"{split:10} {mean:.2%} +- {deviation:.2%} ({', '.join(f'{value:.2%}' for value in values)})")
    seconds = [result.summary["seconds"] for result in found]
    summary["seconds"] = max(seconds) if at_once else sum(seconds)
    speeds = [speed for result in found if (speed := result.summary["examples_per_second"]) is not None]
    summary["examples_per_second"] = statistics.median(speeds) if speeds else None
    del summary["seed"]
    run_folder.write_summary(folder, summary)
    return 0


def trainings_at_once(config: Config) -> int:
    """Return how many of the trainings could run as one program; 1 if an option to tune needs a program per value."""
    if not config.epochs:
        return 1
    if not config.tune:
        return config.seeds
    return min(TRIALS, config.trials) if all(name in MAPPED for name in parse_space(config.tune)) else 1


def tune(framework: str, config: Config, console: Console, train_all: TrainAll, at_once: int) -> int:
    """Search the options of --tune for the best validation accuracy; the test set is not used.

    The options of `at_once` trials are chosen before any of them is trained.

    Raises:
        UserError: optuna, an extra, is not installed; or a trial's options do not go together.
    """
    try:
        import optuna
    except ModuleNotFoundError:
        extra = "pip install 'jaxnets[tune]', or in a clone pip install -c constraints.txt -e '.[tune]'"
        raise UserError(f"--tune needs optuna, which is an extra: {extra}") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space, folder = parse_space(config.tune), run_folder.make_folder(config, framework)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=config.seed))
    rows: list[dict[str, Any]] = []
    best: dict[str, Any] = {}
    while len(rows) < config.trials:
        trials = [study.ask() for _ in range(min(at_once, config.trials - len(rows)))]
        chosen = [{name: _suggest(trial, name, found) for name, found in space.items()} for trial in trials]
        configs = []
        for number, options in enumerate(chosen, len(rows) + 1):
            say(console, f"trial {number} of {config.trials}: {_in_words(options)}")
            changes: dict[str, Any] = {**options, "tune": (), "out": folder / f"trial-{number:03}"}
            configs.append(dataclasses.replace(config, **changes))
        for trial, options, result in zip(trials, chosen, train_all(configs), strict=False):
            if result.code:
                return result.code
            accuracies = {split: result.summary[split]["accuracy"] for split in ("validation", "test")}
            study.tell(trial, accuracies["validation"])
            rows.append({"trial": len(rows) + 1, "options": options, **accuracies})
        # After each batch of trials, so that a later failure loses nothing.
        best = max(rows, key=lambda row: row["validation"])
        atomic.write(folder / "trials.json", (json.dumps({"best": best, "trials": rows}, indent=1) + "\n").encode())
        atomic.write(folder / "trials.png", plots.trials(rows, {name for name, found in space.items() if found.log}))
    figures = f"validation {best['validation']:.2%}, test {best['test']:.2%}"
    say(console, f"best is trial {best['trial']}: {_in_words(best['options'])} ({figures}); all in {folder}")
    return 0


def _suggest(trial: Any, name: str, found: Range) -> Any:
    if found.choices:
        return trial.suggest_categorical(name, found.choices)
    if found.whole:
        return trial.suggest_int(name, int(found.low), int(found.high), log=found.log)
    return trial.suggest_float(name, found.low, found.high, log=found.log)


def _in_words(options: dict[str, Any]) -> str:
    values = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in options.items()}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in values.items())
