"""Time to 94% on CIFAR-10: the recipe cifar10-speedrun, timed like the record, beside the record's own program.

Run by: python -m benchmarks.speedrun --data-dir DATA [--runs 20] [--original airbench94_muon.py] [--json FILE]

As the record does, a run trains on all training examples, which lie on the device; it is timed from the whitening of
the first layer to the last answer on the test set, by several views; what is compiled is compiled before, in a run
that is not counted. The other program is started as it is, in a folder that holds the same examples in the form that
it reads, between the two halves of our runs, and stopped when it has made as many.
"""

import argparse
import dataclasses
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from data import Dataset, Loader, fit_to, load
from data.base import full_scale
from data.loader import normalise
from experiment.config import Config, load_recipe
from experiment.loop.task import Task, training_loader
from experiment.loop.whitening import whitened
from jaxnets import MODELS
from jaxnets.averaging import evaluated
from jaxnets.compose import logits_of, training
from jaxnets.input_pipeline import resident
from jaxnets.loop import create, describe, export, restore, set_precision

# Of the row of a whole run: its accuracy by several views, and its seconds. Older programs have one column more.
ROW = re.compile(r"\|\s+eval\s+\|(?:[^|]*\|){2,3}\s+([0-9.]+)\s+\|\s+([0-9.]+)\s+\|\s*$")
GOAL = 0.94


class Run(NamedTuple):
    """What a training took and came to."""

    seconds: float
    accuracy: float  # on the test set, by several views


def main() -> None:
    """Measure both, print and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--original", type=Path, help="the record's program, as it is")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--dataset", default="cifar10")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="OPTION=VALUE", help="instead of the recipe's: lr=0.03"
    )
    arguments = parser.parse_args()
    values = {name: json.loads(value) for name, _, value in (word.partition("=") for word in arguments.set)}
    config = dataclasses.replace(load_recipe("cifar10-speedrun"), dataset=arguments.dataset, **values)
    dataset, _ = fit_to(load(config.dataset, arguments.data_dir), MODELS[config.model].input_shape)
    train = prepare(config, dataset)
    train(config.seed)  # compiles
    seeds = range(config.seed + 1, config.seed + 1 + arguments.runs)
    half = len(seeds) // 2
    ours = [train(seed) for seed in seeds[:half]]
    theirs = run_original(arguments.original, dataset, arguments.runs) if arguments.original else []
    ours += [train(seed) for seed in seeds[half:]]
    print("\n".join(in_words(ours, theirs)))
    if arguments.json:
        device, versions = describe()
        found = {"command": [Path(sys.argv[0]).name, *sys.argv[1:]], "device": device, "versions": versions}
        found |= {"machine": platform.machine(), "cores": os.cpu_count(), "options": dataclasses.asdict(config)}
        found |= {"ours": [run._asdict() for run in ours], "original": [run._asdict() for run in theirs]}
        arguments.json.write_text(json.dumps(found, indent=1, default=str) + "\n")


def prepare(config: Config, dataset: Dataset) -> Callable[[int], Run]:
    """Return what trains once with a seed; all such runs share what is compiled in the first."""
    set_precision(config)
    entry = MODELS[config.model]
    model, _ = create(entry, len(dataset.classes), config.seed)
    init, take_step = training(model, config, config.epochs * len(_loader(config, dataset, config.seed)))
    examples = jax.device_put(dataset.train)
    _, step = resident(take_step, _loader(config, dataset, config.seed), config, examples)
    step = jax.jit(step, donate_argnums=0)
    scale = full_scale(dataset.test.inputs.dtype)
    tested = [
        jax.device_put(normalise(part, dataset.mean, dataset.std, scale))
        for part in np.split(dataset.test.inputs, range(2000, len(dataset.test.labels), 2000))
    ]

    def train(seed: int) -> Run:
        variables = create(entry, len(dataset.classes), seed)[1]
        loader = _loader(config, dataset, seed)
        batches, _ = resident(take_step, loader, config, examples)
        jax.block_until_ready(variables)
        start = time.perf_counter()
        variables = restore(variables, whitened(export(variables), entry.whitens, dataset, dataset.train))
        state = init(variables, seed)
        for epoch in range(config.epochs):
            for _, batch in batches(epoch, 0):
                state, _ = step(state, batch)
        answers = [logits_of(model, evaluated(state), inputs, config).argmax(axis=1) for inputs in tested]
        found = np.concatenate(answers)  # waits for all of it
        seconds = time.perf_counter() - start
        return Run(seconds, float((found == dataset.test.labels).mean()))

    return train


def _loader(config: Config, dataset: Dataset, seed: int) -> Loader:
    """Return the trainer's own loader, of all training examples: none are held out."""
    task = Task(MODELS[config.model], dataset, {"train": dataset.train}, None, dataset.train.inputs.shape[1:])
    return training_loader(dataclasses.replace(config, seed=seed), task)


def run_original(program: Path, dataset: Dataset, runs: int) -> list[Run]:
    """Return what the record's program says of its first `runs` runs, on our examples."""
    import torch  # the form that it reads is PyTorch's

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cifar10").mkdir()
        for name, split in (("train", dataset.train), ("test", dataset.test)):
            held = {"images": torch.tensor(split.inputs), "labels": torch.tensor(split.labels).long()}
            torch.save({**held, "classes": list(dataset.classes)}, Path(folder) / "cifar10" / f"{name}.pt")
        command = [sys.executable, "-u", str(program.resolve())]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as process:
            found: list[Run] = []
            for line in process.stdout or ():
                if row := ROW.search(line):
                    found.append(Run(float(row[2]), float(row[1])))
                if len(found) == runs + 1:  # the first one only compiles
                    break
            process.terminate()
    if len(found) < runs + 1:
        raise SystemExit(f"error: {program} made {len(found)} runs of {runs + 1}; its own messages are above")
    return found[1:]


def in_words(ours: Sequence[Run], theirs: Sequence[Run]) -> list[str]:
    """Return a line for each side, and the ratio of the medians."""
    lines = []
    for name, runs in (("ours", ours), ("original", theirs)):
        if runs:
            seconds, accuracies = zip(*runs, strict=True)
            line = f"{name:10}{len(runs)} runs, {statistics.median(seconds):.3f} s (median; {min(seconds):.3f} to"
            line += f" {max(seconds):.3f}), mean accuracy {statistics.mean(accuracies):.2%}"
            lines.append(line + f", {sum(a >= GOAL for a in accuracies)} of them {GOAL:.0%} or more")
    if theirs:
        mine, other = (statistics.median(run.seconds for run in runs) for runs in (ours, theirs))
        lines.append(f"ratio     {mine / other:.3f} of the original's time; goal: 1.0 or less")
    return lines


if __name__ == "__main__":
    main()
