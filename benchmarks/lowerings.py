"""Time whole training steps with and without each of `jaxnets.convolution.LOWERINGS`, beside PyTorch, on a CPU.

Run by: python -m benchmarks.lowerings [NETWORK ...] [--rounds 5] [--seconds 0.3] [--json FILE]. One process has a
compiled step for each variant; they take turns, A B C C B A. PyTorch, eager, in both layouts, has processes of its own
that wait meanwhile. Each figure is the median of the rounds, in milliseconds. A file keeps what it has of other
networks and of other versions of JAX: start the command again for those.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from importlib.metadata import version
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax

from jaxnets import convolution
from parity.bench.bench_flax import Bench
from parity.bench.examples import LEAST
from parity.bench.plan import LAYOUTS, Setting, Variant, turns
from parity.bench.process import Worker

NETWORKS = {"lenet5": 128, "fashion_cnn": 128, "simple_cnn": 128, "quizdnn": 64, "inception": 32, "resnet18_cifar": 32}


def main() -> None:
    """Time all, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", choices=[[], *NETWORKS], metavar="NETWORK", help=", ".join(NETWORKS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of each variant in a round")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with ExitStack() as stack:
        workers = {layout: stack.enter_context(Worker("torchnets", "cpu", cores)) for layout in LAYOUTS}
        for network in arguments.networks or NETWORKS:
            found = measure(network, workers, arguments.rounds, arguments.seconds)
            print(network, found, flush=True)
            if arguments.json:
                write(arguments.json, network, found)


def variants() -> dict[str, dict[str, str]]:
    """Return the tables to try: the module's own, none, and the module's without one of them."""
    table = convolution.LOWERINGS
    without = {f"without {name}": {k: table[k] for k in table if k != name} for name in table}
    return {"as chosen": table, "none": {}, **without}


def measure(network: str, workers: dict[str, Worker], rounds: int, seconds: float) -> dict[str, float]:
    """Return the median milliseconds of a training step of each variant; variants of the same program share one."""
    cores, batch = len(os.sched_getaffinity(0)), NETWORKS[network]
    common = {"name": network, "batch_size": batch, "precision": "float32", "tf32": False, "optimizer": "momentum"}
    runs: dict[str, Callable[[], float]] = {}
    with TemporaryDirectory() as folder:
        common |= {"dataset": "", "data_dir": "", "weights": folder}
        programs, benches = _flax(Setting.of(Variant("jaxnets", "dispatch"), common))
        for program, bench in benches.items():
            runs[program] = partial(_of_flax, bench, seconds, batch)
        for layout, worker in workers.items():
            setting = Setting.of(Variant("torchnets", "eager", cores, layout), common)
            worker.ask("prepare", setting=setting._asdict())
            worker.ask("trial", task="training", feed="device", seconds=seconds)
            programs[f"PyTorch, {layout}"] = f"PyTorch, {layout}"
            runs[f"PyTorch, {layout}"] = partial(_of_torch, worker, seconds, batch)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for turn in turns(rounds, list(runs)):
            times[turn].append(runs[turn]())
    return {name: round(statistics.median(times[program]), 2) for name, program in programs.items()}


def _flax(setting: Setting) -> tuple[dict[str, str], dict[str, Any]]:
    """Return which program each variant has, and a benchmark, ready to run, for each program."""
    names: dict[str, str] = {}
    programs: dict[str, str] = {}
    benches: dict[str, Any] = {}
    own = convolution.LOWERINGS
    for variant, table in variants().items():
        convolution.LOWERINGS = table
        bench = Bench(setting)
        text = bench.step.lower(bench.state, bench.batches[0]).as_text()
        names[variant] = programs.setdefault(text, variant)
        if names[variant] == variant:
            bench.feeds["device"] = cycle(map(jax.device_put, bench.batches[:LEAST]))
            bench.run("training", "device", 2)  # compiles
            benches[variant] = bench
    convolution.LOWERINGS = own
    return names, benches


def _of_flax(bench: Any, seconds: float, batch: int) -> float:
    first = bench.run("training", "device", 1).seconds
    return 1e3 * batch / bench.run("training", "device", max(1, round(seconds / first))).rate


def _of_torch(worker: Worker, seconds: float, batch: int) -> float:
    return 1e3 * batch / worker.ask("round", task="training", feed="device", seconds=seconds)["rate"]


def write(file: Path, network: str, found: dict[str, float]) -> None:
    """Put the figures of a network and of this JAX into the file."""
    about = json.loads(file.read_text()) if file.exists() else {}
    about["command"] = "python -m benchmarks.lowerings NETWORK ... --json FILE, for each JAX"
    about["machine"] = f"{len(os.sched_getaffinity(0))} cores of an AMD EPYC"
    about["torch"] = version("torch")
    about["unit"] = "milliseconds per training step, median; batch size in brackets"
    row = about.setdefault("milliseconds", {}).setdefault(f"{network} ({NETWORKS[network]})", {})
    row[f"jax {version('jax')}"] = found
    file.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
