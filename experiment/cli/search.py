"""--tune: the search for the options with the best validation result by --monitor."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import Any

from rich.console import Console

from data import UserError
from experiment.cli.sweep import AT_ONCE, Trainings, parts, say_failures, say_interrupted
from experiment.config import Config, Range, parse_space, to_json
from experiment.console import say
from experiment.loop import early_stopping
from experiment.loop.training import Result
from experiment.runs import atomic, plots
from experiment.runs.kinds import CONFIG, TRIALS, Folder, has_ended, read_config
from experiment.runs.pictures import write_pictures


def import_optuna() -> ModuleType:
    """Import Optuna.

    Raises:
        UserError: it is not installed; says which extra to install.
    """
    try:
        import optuna
    except ModuleNotFoundError:
        extra = "pip install 'jaxnets[tune]', or in a clone pip install -c constraints.txt -e '.[tune]'"
        raise UserError(f"--tune needs optuna, which is an extra: {extra}") from None
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def tune(config: Config, folder: Folder, console: Console, trainings: Trainings) -> int:
    """Search the options of --tune for the best validation result by --monitor; the test set is not used.

    A trial that fails counts as the worst. A resumed search chooses the same options as one that was not interrupted.

    Raises:
        UserError: all of the trials failed.
    """
    search, at_once = _Search(config, folder), folder.sweep[AT_ONCE]
    found: list[Result] = []
    while len(found) < config.trials:
        numbers = range(len(found) + 1, min(len(found) + at_once, config.trials) + 1)
        chosen = search.choose(numbers)
        for number, options in zip(numbers, chosen, strict=True):
            say(console, f"trial {number} of {config.trials}: {_in_words(options)}")
        new = not all(has_ended(folder.part(number)) for number in numbers)
        results = trainings.run(parts(config, folder, chosen, numbers))
        ended = [result for result in results if not result.code]
        found += ended
        search.tell(ended)
        if new or len(found) == config.trials:
            search.write()  # after each batch of trials, so that a later failure loses nothing
        if code := next((result.code for result in results if result.code), 0):
            say_interrupted(console, folder)
            return code
    if best := search.best:
        figures = f"validation {best['validation']:.2%}, test {best['test']:.2%}"
        say(console, f"best is trial {best['trial']}: {_in_words(best['options'])} ({figures}); all in {folder.path}")
    say_failures(console, found, [f"trial {number}" for number in range(1, len(found) + 1)])
    return 0


class _Search:
    """A study of Optuna, and the rows of trials.json."""

    def __init__(self, config: Config, folder: Folder):
        self._optuna = import_optuna()
        self._config, self._folder, self._space = config, folder, parse_space(config.tune)
        sampler = self._optuna.samplers.TPESampler(seed=config.seed)
        self._study = self._optuna.create_study(direction="maximize", sampler=sampler)
        self._asked: list[tuple[Any, dict[str, Any], bool]] = []  # trial, options, whether they are the trial's own
        self.rows: list[dict[str, Any]] = []

    @property
    def best(self) -> dict[str, Any] | None:
        """The row of the best trial; None if all have failed."""
        ended = [row for row in self.rows if row["monitored"] is not None]
        return max(ended, key=lambda row: early_stopping.rank(self._config, row["monitored"]), default=None)

    def choose(self, numbers: Sequence[int]) -> list[dict[str, Any]]:
        """Return the options of the trials to come; of those that have begun, the ones in their folders."""
        trials = [self._study.ask() for _ in numbers]
        for number, trial in zip(numbers, trials, strict=True):
            options = {name: _suggest(trial, name, found) for name, found in self._space.items()}
            before = self._recorded(number, options)
            self._asked.append((trial, options if before is None else before, before is None))
        return [options for _, options, _ in self._asked]

    def _recorded(self, number: int, options: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the options in a trial's folder if another version of Optuna has chosen them."""
        path = self._folder.part(number) / CONFIG
        if not path.is_file():
            return None
        saved = read_config(path)
        expected = json.loads(to_json(dataclasses.replace(self._config, **options)))
        if all(saved.get(name) == expected[name] for name in options):
            return None
        return {name: saved.get(name, expected[name]) for name in options}

    def tell(self, results: Sequence[Result]) -> None:
        """Add the results of the trials that were chosen last, from the first on."""
        states, create = self._optuna.trial.TrialState, self._optuna.trial.create_trial
        for (trial, options, own), result in zip(self._asked, results, strict=False):
            splits = ("validation", "test")
            accuracies = {name: None if result.error else result.summary[name]["accuracy"] for name in splits}
            monitored = None if result.error else early_stopping.monitored(self._config, result.summary["validation"])
            value = early_stopping.rank(self._config, monitored)
            if own:
                self._study.tell(trial, value)
            else:
                self._study.tell(trial, state=states.FAIL)
                with suppress(ValueError):  # not of this space: nothing is learned from it
                    distributions = trial.distributions
                    self._study.add_trial(create(params=options, distributions=distributions, value=value))
            failed = {"failed": result.error} if result.error else {}
            self.rows.append(
                {"trial": len(self.rows) + 1, "options": options, **accuracies, "monitored": monitored, **failed}
            )
        self._asked.clear()

    def write(self) -> None:
        """Write trials.json, and trials.png once a trial has ended."""
        content = json.dumps({"best": self.best, "trials": self.rows}, indent=1) + "\n"
        atomic.write(self._folder.path / TRIALS, content.encode())
        if self.best:
            log = {name for name, found in self._space.items() if found.log}
            picture = partial(plots.trials, self.rows, log, self._config.monitor)
            write_pictures(self._folder.path, {"trials.png": picture})


def _suggest(trial: Any, name: str, found: Range) -> Any:
    if found.choices:
        return trial.suggest_categorical(name, found.choices)
    if found.whole:
        return trial.suggest_int(name, int(found.low), int(found.high), log=found.log)
    return trial.suggest_float(name, found.low, found.high, log=found.log)


def _in_words(options: dict[str, Any]) -> str:
    values = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in options.items()}
    return " ".join(f"--{name.replace('_', '-')} {value}" for name, value in values.items())
