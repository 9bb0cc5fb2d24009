"""What a checkpoint costs: `python -m benchmarks.checkpoints FOLDER [NAME ...] [--json FILE]`.

Saving is packing, hashing, writing and fsync; loading is reading, hashing and unpacking. Beside them, in the same run,
what the disk takes for as many bytes written and synced with nothing around it.
"""

import argparse
import json
import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from experiment.config import Config
from experiment.runs import atomic, checkpoint
from jaxnets import MODELS
from jaxnets.compose import training
from jaxnets.loop import create, describe
from jaxnets.snapshot import to_arrays

ROUNDS = 5


def main() -> None:
    """Measure each network with Adam's state, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="on the disk to measure; made, and removed again")
    parser.add_argument("names", nargs="*", default=["lenet5", "resnet18_cifar", "resnet50"])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [measure(name, arguments.folder) for name in arguments.names]
    for row in rows:
        print("  ".join(f"{key} {value}" for key, value in row.items()))
    if arguments.json:
        device, versions = describe()
        facts = {"command": "python -m benchmarks.checkpoints FOLDER", "device": device, "cores": os.cpu_count()}
        arguments.json.write_text(json.dumps(facts | {"versions": versions, "networks": rows}, indent=1) + "\n")


def measure(name: str, folder: Path) -> dict[str, object]:
    """Return the size of a network's checkpoint, and the median seconds of saving, loading and plain writing."""
    model, variables = create(MODELS[name], 10, 0)
    state = to_arrays(training(model, Config(), 10).init(jax.tree.map(np.asarray, variables), 0))
    facts = {"about": {}, "data": {}, "config": {}, "rows": [], "epochs": [], "counts": None, "best": {"step": -1}}
    manifest = {"format": 1, **facts}
    folder.mkdir(parents=True)
    saved, loaded, plain, size = [], [], [], 0
    for step in range(ROUNDS):
        saved.append(seconds(lambda at=step: checkpoint.save(folder, {**manifest, "step": at}, state, {}, keep=1)))
        (path,) = checkpoint.folders(folder)
        size = sum(file.stat().st_size for file in path.iterdir())
        content = bytes(size)
        plain.append(seconds(lambda content=content: atomic.write(folder / "plain", content)))
        loaded.append(seconds(lambda path=path: checkpoint.load(path)))
    shutil.rmtree(folder)
    medians = {"save": saved, "load": loaded, "plain write": plain}
    return {"network": name, "MB": round(size / 1e6, 2)} | {
        f"{what} s": round(statistics.median(times), 4) for what, times in medians.items()
    }


def seconds(call: Callable[[], object]) -> float:
    """Return how long a call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
