"""Time a training step of the same network in Linen, NNX and Equinox, with the time that Python takes to start it.

Run by: python -m benchmarks.dispatch [NAME ...] [--rounds 9] [--steps 50] [--batches 2,64] [--json FILE [--merge]].

With --merge, FILE keeps what is not measured now: one row of the table can be measured by itself. Its command, its
machine and its versions are then an entry of "later".

The ways take turns, A B C C B A. Each figure is a median over the rounds. "step" is the time of a whole step with its
dispatch, awaited; its ratio to Linen is the median of the ratios within each round, which suffer less from other work.
"dispatch" is the processor's time that the calling thread takes until the call returns: Python's work, and on a CPU
what XLA computes within the call. Others' work does not count there.
"""

import argparse
import importlib
import importlib.util
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

import jaxnets
from data import Batch
from jaxnets.compiler_guard import guard
from jaxnets.nnx import step as nnx_step
from jaxnets.step import init_state, train_step

NETWORKS = {"lenet5": "lenet5", "ann": "ann", "quizdnn": "quizdnn", "resnet18_cifar": "resnet"}  # and their files
LINE = (
    "{network:16}{batch:4}  {way:19} step {step_ms:8.3f} ms {step_to_linen:6.2f}"
    "   dispatch {dispatch_ms:7.3f} ms {dispatch_to_linen:6.2f}"
)
Run = Callable[[], Any]  # takes one step


def main() -> None:
    """Time all, print and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=list(NETWORKS), metavar="NAME")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--steps", type=int, default=50, help="in each round")
    parser.add_argument("--batches", default="2,64", help="sizes of the batch")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--merge", action="store_true", help="keep what FILE has of other networks and batches")
    arguments = parser.parse_args()
    guard()
    rows = []
    for name in arguments.names:
        for size in map(int, arguments.batches.split(",")):
            rows += measure(name, size, arguments.rounds, arguments.steps)
    if arguments.json:
        packages = [p for p in ("jax", "flax", "optax", "equinox") if importlib.util.find_spec(p)]
        about = {
            "command": f"python -m benchmarks.dispatch {' '.join(sys.argv[1:])}",
            "device": f"{jax.default_backend()}: {jax.devices()[0].device_kind}",
            "machine": platform.machine(),
            "cores": len(os.sched_getaffinity(0)),
            "versions": {"python": platform.python_version(), **{name: version(name) for name in packages}},
        }
        found = {**about, "rows": rows}
        if arguments.merge and arguments.json.exists():
            found = merged(json.loads(arguments.json.read_text()), about, rows)
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")


def merged(old: dict[str, Any], about: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return an earlier file with new rows in place of those of the same network and batch, and how they were made."""
    measured = list(dict.fromkeys((row["network"], row["batch"]) for row in rows))
    kept = [row for row in old["rows"] if (row["network"], row["batch"]) not in measured]
    later = [*old.get("later", []), {**about, "measured": [f"{name}, batch {batch}" for name, batch in measured]}]
    return {**old, "rows": [*kept, *rows], "later": later}


def measure(name: str, size: int, rounds: int, steps: int) -> list[dict[str, Any]]:
    """Return the times of each way, and print them."""
    entry = jaxnets.MODELS[name]
    options = dict(entry.small.options)  # small: a large one hides what is measured here
    shape = entry.small.input_shape or entry.input_shape
    rng = np.random.default_rng(0)
    arrays: Any = rng.normal(size=(size, *shape)).astype(np.float32), rng.integers(0, 10, size).astype(np.int32)
    batch = Batch(*map(jax.device_put, arrays))
    ways = made(name, options, batch)
    step_ms: dict[str, list[float]] = {way: [] for way in ways}
    call_ms: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(rounds + 1):  # the first one compiles
        for way in list(ways) if turn % 2 == 0 else list(ways)[::-1]:
            start, calling = time.perf_counter(), 0.0
            for _ in range(steps if turn else 3):
                before = time.thread_time()
                result = ways[way]()
                calling += time.thread_time() - before
                jax.block_until_ready(result)
            if turn:
                step_ms[way].append(1e3 * (time.perf_counter() - start) / steps)
                call_ms[way].append(1e3 * calling / steps)
    rows = []
    for way, times in step_ms.items():
        ratios = [
            statistics.median(a / b for a, b in zip(mine, theirs, strict=True))
            for mine, theirs in ((times, step_ms["linen"]), (call_ms[way], call_ms["linen"]))
        ]
        row = {
            "network": name,
            "batch": size,
            "way": way,
            "step_ms": round(statistics.median(times), 4),
            "step_to_linen": round(ratios[0], 3),
            "dispatch_ms": round(statistics.median(call_ms[way]), 4),
            "dispatch_to_linen": round(ratios[1], 3),
        }
        rows.append(row)
        print(LINE.format(**row), flush=True)
    return rows


def made(name: str, options: dict[str, Any], batch: Batch) -> dict[str, Run]:
    """Return each way's next step, the state kept inside, compiled when it is first called."""
    ways = {
        "linen": linen(name, options, batch),
        "nnx.jit": by_nnx_jit(name, options, batch),
        "nnx.cached_partial": by_nnx_jit(name, options, batch, cached=True),
        "nnx.split": by_split(name, options, batch),
    }
    if name == "lenet5" and importlib.util.find_spec("equinox"):
        ways["equinox"] = by_equinox(batch)
    return ways


def optimizer() -> optax.GradientTransformation:
    """Return the update rule of all ways."""
    return optax.sgd(0.01, momentum=0.9)


def linen(name: str, options: dict[str, Any], batch: Batch) -> Run:
    """Return the step of `jaxnets.step`."""
    model, tx = jaxnets.MODELS[name].build(**options), optimizer()
    state = init_state(tx, model.init(jax.random.key(0), batch.inputs), 0)
    step = jax.jit(partial(train_step, model, tx), donate_argnums=0)

    def run() -> Any:
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    return run


def by_nnx_jit(name: str, options: dict[str, Any], batch: Batch, *, cached: bool = False) -> Run:
    """Return the step of `jaxnets.nnx.step`, state in the module."""
    model = _module(name, options)
    rule = nnx.Optimizer(model, optimizer(), wrt=nnx.Param)
    model.train()
    step = nnx.jit(nnx_step.train_step)
    if cached:
        step = nnx.cached_partial(step, model, rule)
        return lambda: step(batch)
    return lambda: step(model, rule, batch)


def by_split(name: str, options: dict[str, Any], batch: Batch) -> Run:
    """Return the step of `jaxnets.nnx.step` as a pure function."""
    tx = optimizer()
    graph, state = nnx_step.init_state(tx, _module(name, options))
    step = jax.jit(partial(nnx_step.split_step, graph, tx), donate_argnums=0)

    def run() -> Any:
        nonlocal state
        state, metrics = step(state, batch)
        return metrics

    return run


def by_equinox(batch: Batch) -> Run:
    """Return the step of `jaxnets.eqx.step`."""
    eqx = importlib.import_module("equinox")
    eqx_step = importlib.import_module("jaxnets.eqx.step")
    model = importlib.import_module("jaxnets.eqx.lenet5").LeNet5(key=jax.random.key(0))
    tx = optimizer()
    opt_state, key = eqx_step.init_state(tx, model), jax.random.key(1)
    step = eqx.filter_jit(eqx_step.train_step)

    def run() -> Any:
        nonlocal model, opt_state
        model, opt_state, metrics = step(model, tx, opt_state, key, batch)
        return metrics

    return run


def _module(name: str, options: dict[str, Any]) -> nnx.Module:
    file = importlib.import_module(f"jaxnets.nnx.{NETWORKS[name]}")
    return file.MODELS[name].build(**options, rngs=nnx.Rngs(0))


if __name__ == "__main__":
    main()
