"""--seeds: the same training with several seeds, for the mean and the deviation of its accuracies."""

import statistics
from collections.abc import Sequence
from typing import Any

from rich.console import Console

from experiment.cli.sweep import Trainings, parts, say_failures, say_interrupted
from experiment.config import Config
from experiment.console import say
from experiment.loop.training import Result
from experiment.runs import folder as run_folder
from experiment.runs.kinds import Folder


def repeat(config: Config, folder: Folder, console: Console, trainings: Trainings, *, at_once: bool) -> int:
    """Train with several seeds, each in its own folder inside one; print and write mean and standard deviation.

    They are those of the trainings that ended; the others are named.

    Raises:
        UserError: all of the trainings failed.
    """
    seeds = range(config.seed, config.seed + config.seeds)
    found = trainings.run(parts(config, folder, [{"seed": seed} for seed in seeds], seeds))
    if code := next((result.code for result in found if result.code), 0):
        say_interrupted(console, folder)
        return code
    failed = [{"seed": seed, "error": one.error} for seed, one in zip(seeds, found, strict=True) if one.error]
    if len(failed) < len(found):
        summary = _summary([one for one in found if not one.error], at_once=at_once)
        for split in ("train", "validation", "test"):
            say(console, f"{split:10} {_in_words(summary[split])}")
        run_folder.write_summary(folder.path, {**summary, "failed": failed})
    say_failures(console, found, [f"seed {seed}" for seed in seeds])
    return 0


def _summary(ended: Sequence[Result], *, at_once: bool) -> dict[str, Any]:
    summary = ended[0].summary | {"seeds": [result.summary["seed"] for result in ended]}
    for split in ("train", "validation", "test"):
        values = [result.summary[split]["accuracy"] for result in ended]
        deviation = statistics.stdev(values) if len(values) > 1 else None
        summary[split] = {"accuracy": statistics.mean(values), "deviation": deviation, "accuracies": values}
    seconds = [result.summary["seconds"] for result in ended]
    summary["seconds"] = max(seconds) if at_once else sum(seconds)
    speeds = [speed for result in ended if (speed := result.summary["examples_per_second"]) is not None]
    summary["examples_per_second"] = statistics.median(speeds) if speeds else None
    del summary["seed"]
    return summary


def _in_words(result: dict[str, Any]) -> str:
    values = ", ".join(f"{value:.2%}" for value in result["accuracies"])
    deviation = "-" if result["deviation"] is None else f"{result['deviation']:.2%}"
    return f"{result['accuracy']:.2%} +- {deviation} ({values})"
