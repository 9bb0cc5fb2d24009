"""Measure loading: python -m data.benchmark [--data-dir DATA] [--json FILE] [--plot FILE.png].

The loader, PyTorch's DataLoader, grain and plain copies read the same examples in batches, in turn. What each yields
is first held against the dataset. What the tasks, the targets and the rules are: docs/loader.md.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import shlex
import sys
from pathlib import Path

import numpy as np

from data import Dataset, Split, UserError, load, make_dataset
from data.benchmark.contenders import SEED, TASKS, Missing, Side, contenders, installed
from data.benchmark.measure import Row, check_labels, check_raw, check_ready, measure, numbered
from data.benchmark.plot import plot
from data.benchmark.report import figures, table, targets
from data.terminal import command, outlive

SHAPES = {"cifar10": (50_000, (32, 32, 3)), "mnist": (60_000, (28, 28, 1))}  # of what is made up without --data-dir
READY = 10_000  # examples at most where each is transformed: in the slowest way that takes seconds
PACKAGES = ("numpy", "torch", "torchvision", "grain", "jax")


def main() -> None:
    """Run the command line."""
    command(_main)


def _main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m data.benchmark", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default=",".join(SHAPES), help="names, with commas; default: %(default)s")
    parser.add_argument("--data-dir", help="where they are; without it their like is made up, in memory, from a seed")
    parser.add_argument("--tasks", default=";".join(TASKS[:2]), help=f"of {'; '.join(TASKS)}; default: %(default)s")
    parser.add_argument("--batch-sizes", default="128,256,512,1024", help="default: %(default)s")
    parser.add_argument("--rounds", default="5", help="epochs that are timed of each; default: %(default)s")
    parser.add_argument("--examples", default="0", help="read only so many of a dataset; default: all")
    parser.add_argument("--json", type=Path, help="write everything that was measured")
    parser.add_argument("--plot", type=Path, help="write the plot, a PNG")
    try:
        run(parser.parse_args())
    except OSError as error:
        raise UserError(str(error)) from None
    return 0


def run(args: argparse.Namespace) -> None:
    """Check the options, measure, and report.

    Raises:
        UserError: an option is not what it should be.
    """
    sizes = [_number("--batch-sizes", text, 2) for text in args.batch_sizes.split(",")]
    rounds, count = _number("--rounds", args.rounds, 1), _number("--examples", args.examples, 0)
    tasks = _tasks(args.tasks)
    for option, path in (("--json", args.json), ("--plot", args.plot)):
        if path and not path.absolute().parent.is_dir():
            raise UserError(f"{option} {path}: there is no folder {path.absolute().parent}")
    if args.plot and args.plot.suffix != ".png":
        raise UserError(f"--plot {args.plot}: only PNG can be written; give a name that ends in .png")
    if args.json or args.plot:
        outlive()
    datasets = {name: _dataset(name, args.data_dir, count) for name in args.dataset.split(",")}
    for name, dataset in datasets.items():
        if max(sizes) > (most := len(dataset.train.labels)):
            raise UserError(f"--batch-sizes: found {max(sizes)}, but there are only {most} examples of {name}")
    report = _facts(rounds)
    sides, missing = installed()
    for side in missing:
        print(f"not measured: {side.name} ({side.reason}); to have it: {side.remedy}")
    rows: list[Row] = []
    for name, dataset in datasets.items():
        for task in tasks:
            rows += _measured(name, dataset, task, sizes, sides, rounds)
    print(table(rows))
    source = f"read from {args.data_dir}" if args.data_dir else f"made up, uniform, seed {SEED}"
    report["datasets"] = {name: _described(dataset, source) for name, dataset in datasets.items()}
    _write(args, report, rows, missing)


def _measured(name: str, dataset: Dataset, task: str, sizes: list[int], sides: list[Side], rounds: int) -> list[Row]:
    """Check everyone at one task, then time them."""
    rows, whole = [], dataset.train
    if task == "raw":
        few = dataset
    else:
        few = dataset._replace(train=Split(whole.inputs[:READY], whole.labels[:READY]))
        known = numbered(whole.inputs.shape[1:])
        for contender in contenders(task, known, 64, sides):
            check_ready(contender, known)
    for size in sizes:
        found = contenders(task, few, size, sides)
        for contender in found:
            if task == "raw":
                check_raw(contender, whole)
            else:
                check_labels(contender, few.train)
        print(f"{name}, {task}, batches of {size}: {len(found)} contenders yield the same examples", flush=True)
        seconds = measure(found, rounds)
        rows += [Row(name, task, size, who, len(few.train.labels), each) for who, each in seconds.items()]
    return rows


def _tasks(text: str) -> list[str]:
    tasks = text.split(";")
    for task in tasks:
        if task not in TASKS:
            raise UserError(f"--tasks: unknown task '{task}'; known: {'; '.join(TASKS)}")
    return tasks


def _number(option: str, text: str, least: int) -> int:
    if not text.strip().isdecimal() or int(text) < least:
        raise UserError(f"{option}: expected whole numbers from {least} on, found '{text}'")
    return int(text)


def _dataset(name: str, data_dir: str | None, count: int) -> Dataset:
    """Return a dataset, or one of its shape."""
    if data_dir:
        split = load(name, data_dir).train
        if (split.inputs.ndim, split.inputs.dtype.name) != (4, "uint8"):
            raise UserError(f"dataset '{name}' is {split.inputs.dtype}, expected images, which are uint8")
    elif name in SHAPES:
        rng, (most, shape) = np.random.default_rng(SEED), SHAPES[name]
        images = rng.integers(0, 256, (min(most, count or most), *shape), np.uint8)
        split = Split(images, rng.integers(0, 10, len(images), np.int32))
    else:
        raise UserError(f"--dataset {name}: without --data-dir there are only the likes of {', '.join(SHAPES)}")
    split = Split(*(array[: count or None] for array in split))
    return make_dataset(split, split, tuple(map(str, range(int(split.labels.max()) + 1))))


def _described(dataset: Dataset, source: str) -> dict[str, object]:
    inputs = dataset.train.inputs
    return {"source": source, "examples": len(inputs), "shape": inputs.shape[1:], "dtype": inputs.dtype.name}


def _facts(rounds: int) -> dict[str, object]:
    """Return what must be said beside any figure; the load is that of before the measurements."""
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8") if Path("/proc/cpuinfo").exists() else ""
    names = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "command": shlex.join(["python", "-m", "data.benchmark", *sys.argv[1:]]),
        "hardware": {
            "processor": names[0] if names else platform.machine(),
            "cores": os.cpu_count(),
            "load before": os.getloadavg()[0],
            "system": platform.platform(),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
        },
        "versions": versions,
        "rounds": rounds,
    }


def _write(args: argparse.Namespace, report: dict[str, object], rows: list[Row], missing: list[Missing]) -> None:
    report |= {
        "missing": [side._asdict() for side in missing],
        "measured": [row._asdict() | figures(row)._asdict() for row in rows],
        "targets": [target._asdict() for target in targets(rows)],
    }
    if args.json:
        args.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if args.plot:
        args.plot.write_bytes(plot(rows))


if __name__ == "__main__":
    main()
