"""How quickly a training on an own folder of pictures starts, what memory it takes, and how fast its batches are.

Run by: python -m benchmarks.own_folders FOLDER [--pictures 20000] [--links 200000] [--json FILE]

FOLDER gets the pictures, JPEG files of 48x48 in ten classes that are resized to 224x224, and the cache; it is kept.
Each start is a process of its own. With --links there are so many hard links to the pictures, in another folder.

    start    the real command, up to its first batch: seconds for imports, and from there on
    memory   peak resident memory of the framework with a network, and with the first 500 batches of an epoch
    batches  batches/s of the loader as the framework gets them, from the mapped cache and from arrays, batch by batch
             in turns, so that other work on the machine slows down both; medians

Seconds are of the clock; `cpu` are those of all threads of the process, which other work changes less.
"""

import argparse
import importlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from data.loader import Loader
from experiment.cli import train
from experiment.cli.command import load_framework
from experiment.config import Config
from experiment.loop.task import prepare, training_loader
from experiment.runs.resume import fingerprint

FRAMEWORKS = ("torchnets", "jaxnets")
MODEL, CLASSES, EMBEDDED = "resnet18", 10, "digits"
MOST = 500  # batches for the memory


def main() -> None:
    """Measure, print, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=20_000)
    parser.add_argument("--links", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", nargs=2, help="do this part, with this framework")
    arguments = parser.parse_args()
    if arguments.child:
        what, framework = arguments.child
        print(json.dumps(CHILDREN[what](framework, arguments.folder, arguments.rounds)))
        return
    for found in measure(arguments):
        if arguments.json:
            arguments.json.write_text(json.dumps(found, indent=1) + "\n")
        print(json.dumps(found, indent=1))


def measure(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield all figures so far, after each folder."""
    packages = ("numpy", "pillow", "torch", "jax")
    found: dict[str, Any] = {
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        "model": MODEL,
    }
    embedded = arguments.folder / EMBEDDED
    found[f"second start with {EMBEDDED}"] = {name: child("start", name, embedded) for name in FRAMEWORKS * 2}
    pictures = arguments.folder / "pictures"
    make_pictures(pictures, arguments.pictures)
    found[f"{arguments.pictures} pictures"] = parts(pictures, arguments.rounds)
    yield found
    if arguments.links:
        links = arguments.folder / "links"
        make_links(pictures, links, arguments.links)
        found[f"{arguments.links} hard links to them"] = parts(links, 0)
        shutil.rmtree(links)
        yield found


def parts(folder: Path, rounds: int) -> dict[str, Any]:
    """Return the figures of one folder."""
    cache = folder.parent / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    found = {"first_start": child("start", FRAMEWORKS[0], folder)}
    for framework in FRAMEWORKS:
        starts = [child("start", framework, folder) for _ in range(3)]
        found[framework] = {"second_start": starts, "memory": child("memory", framework, folder)}
        if rounds:
            found[framework]["batches"] = child("batches", framework, folder, rounds)
    found["cache_bytes"] = sum(path.stat().st_size for path in cache.rglob("*") if path.is_file())
    return found


def child(what: str, framework: str, folder: Path, rounds: int = 0) -> Any:
    """Return the figures of one process."""
    command = [sys.executable, "-m", "benchmarks.own_folders", str(folder), "--child", what, framework]
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    ran = subprocess.run(
        [*command, "--rounds", str(rounds)], env=environment, capture_output=True, text=True, check=False
    )
    if ran.returncode:
        sys.exit(ran.stdout + ran.stderr)
    return json.loads(ran.stdout.splitlines()[-1])


def make_pictures(folder: Path, count: int) -> None:
    """Write pictures of all classes, unless there are some."""
    if folder.exists():
        return
    rng = np.random.default_rng(0)
    for number in range(count):
        path = folder / f"class{number % CLASSES}" / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 255, (6, 6, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((48, 48), Image.Resampling.BICUBIC).save(path, quality=85)


def make_links(pictures: Path, folder: Path, count: int) -> None:
    """Write hard links to the pictures, in turn."""
    files = sorted(pictures.rglob("*.jpg"))
    for number in range(count):
        source = files[number % len(files)]
        path = folder / source.parent.name / f"{number:06}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.hardlink_to(source)


def config_of(folder: Path) -> Config:
    """Return the options of the training."""
    return Config(model=MODEL, dataset=str(folder), cache_dir=folder.parent / "cache")


def start(framework: str, folder: Path, _: int) -> dict[str, Any]:
    """Run the command up to its first batch."""
    began, cpu = time.perf_counter(), time.process_time()
    importlib.import_module(f"{framework}.loop")
    load_framework(framework)
    imported, imports_cpu = time.perf_counter(), time.process_time()

    class FirstBatchError(BaseException):
        pass

    def take(*_: Any) -> None:
        raise FirstBatchError

    Loader.take = take  # type: ignore[method-assign]
    run, cache = folder.parent / "run", str(folder.parent / "cache")
    shutil.rmtree(run, ignore_errors=True)
    dataset = EMBEDDED if folder.name == EMBEDDED else str(folder)
    options = ["--model", MODEL, "--dataset", dataset, "--cache-dir", cache, "--out", str(run)]
    sys.argv = [f"{framework}.train", *options]
    with suppress(FirstBatchError):
        train.main(framework)
    ended, ends_cpu = time.perf_counter(), time.process_time()
    shutil.rmtree(run, ignore_errors=True)
    seconds = {"imports_s": imported - began, "imports_cpu_s": imports_cpu - cpu}
    seconds |= {"from_there_to_the_first_batch_s": ended - imported, "and_its_cpu_s": ends_cpu - imports_cpu}
    return {name: round(value, 2) for name, value in seconds.items()}


def memory(framework: str, folder: Path, _: int) -> dict[str, Any]:
    """Read batches of an epoch without training."""
    backend, config = load_framework(framework), config_of(folder)
    backend.create(backend.MODELS[MODEL], CLASSES, 0)
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    task = prepare(config, backend.MODELS)
    fingerprint(task)
    count = sum(1 for _ in islice(batches(framework, training_loader(config, task)), MOST))
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    gib = {"framework_gib": own / 2**20, "beyond_that_gib": (whole - own) / 2**20}
    return {"batches": count, **{name: round(value, 3) for name, value in gib.items()}}


def speed(framework: str, folder: Path, rounds: int) -> dict[str, Any]:
    """Measure the mapped cache and arrays in turns, batch by batch; the first epoch is not counted."""
    backend, config = load_framework(framework), config_of(folder)
    task = prepare(config, backend.MODELS)
    mapped = training_loader(config, task)
    loaders = {"mapped": mapped, "array": training_loader(config, task._replace(splits={"train": mapped.arrays}))}
    seconds: dict[str, list[float]] = {name: [] for name in loaders}
    for epoch in range(rounds + 1):
        streams = {name: iter(batches(framework, loader, epoch)) for name, loader in loaders.items()}
        for _ in range(len(mapped)):
            for name, stream in streams.items():
                began = time.perf_counter()
                next(stream)
                if epoch:
                    seconds[name].append(time.perf_counter() - began)
    rates = {name: round(1 / statistics.median(found), 2) for name, found in seconds.items()}
    ratio = round(rates["mapped"] / rates["array"], 3)
    return {"batch_size": config.batch_size, "batches_per_s": rates, "mapped_to_array": ratio}


def batches(framework: str, loader: Loader, epoch: int = 0) -> Any:
    """Yield the batches of an epoch as the network gets them."""
    if framework == "torchnets":
        from torchnets.input_pipeline import on_host

        yield from on_host(loader)(epoch, 0)
        return
    import jax

    for batch in loader.epoch(epoch):
        yield jax.block_until_ready(jax.device_put(batch))


CHILDREN = {"start": start, "memory": memory, "batches": speed}

if __name__ == "__main__":
    main()
