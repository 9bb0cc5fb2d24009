"""How long it takes from the start of Python to the end of the first training step, cold and warm.

Run by: python -m benchmarks.startup [NAME ...] [--batch-size 64] [--rounds 3] [--json FILE]

Cold: nothing that is compiled has been kept. Warm: JAX's persistent compilation cache, and Inductor's for
`torch.compile`, hold what the cold start before it has compiled; all of it, however quickly that was. Each start is a
process of its own; a round makes each kind once.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

KINDS = {"Flax": ("jax", "cold", "warm"), "compiled": ("torch-compile", "cold", "warm"), "eager": ("torch", "cold")}
NAMES = ("mlp", "lenet5", "quizdnn", "resnet18_cifar")


def main() -> None:
    """Measure, print a table, and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", help="make one step with this side, and say when it has ended")
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps({"device": first_step(arguments.child, arguments.names[0], arguments.batch_size)}))
        return
    found = {name: measure(name, arguments.batch_size, arguments.rounds) for name in arguments.names}
    print(table(found))
    if arguments.json:
        about = {"command": [Path(sys.argv[0]).name, *sys.argv[1:]], "machine": platform.machine()}
        versions = {"python": platform.python_version(), "cores": os.cpu_count()}
        arguments.json.write_text(json.dumps({**about, **versions, "seconds": found}, indent=1) + "\n")


def first_step(side: str, name: str, batch_size: int) -> str:
    """Make a training step of a network; return the device. Nothing is imported before it is needed."""
    if side == "jax":
        return _flax_step(name, batch_size)
    return _torch_step(name, batch_size, compiled=side == "torch-compile")


def _flax_step(name: str, batch_size: int) -> str:
    import jax

    from data import Batch
    from experiment.config import Config
    from jaxnets import MODELS
    from jaxnets.compose import training
    from jaxnets.loop import create, describe, set_precision

    config = Config(model=name)
    set_precision(config)
    model, variables = create(MODELS[name], 10, 0)
    init, take_step = training(model, config, 1)
    step = jax.jit(take_step, donate_argnums=0)
    batch = Batch(*_batch(MODELS[name].input_shape, batch_size))
    _, metrics = step(init(variables, 0), batch)
    assert np.isfinite(float(metrics["loss"]))
    return describe()[0]


def _torch_step(name: str, batch_size: int, *, compiled: bool) -> str:
    import torch

    from data import Batch
    from experiment.config import Config
    from torchnets import MODELS
    from torchnets.compose import training
    from torchnets.input_pipeline import DEVICE
    from torchnets.loop import create, describe, set_precision
    from torchnets.tensors import as_tensors

    config = Config(model=name)
    set_precision(config)
    model, _ = create(MODELS[name], 10, 0)
    network: Any = torch.compile(model) if compiled else model
    batch = as_tensors(Batch(*_batch(MODELS[name].input_shape, batch_size)), DEVICE)
    metrics = training(model, config, 1, module=network).step(batch)
    assert np.isfinite(float(metrics["loss"]))
    return describe()[0]


def _batch(shape: tuple[int, ...], size: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(size, *shape)).astype(np.float32), rng.integers(0, 10, size).astype(np.int32)


def measure(name: str, batch_size: int, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of each kind of start, one for each round."""
    found = {kind: {state: [] for state in states} for kind, (_, *states) in KINDS.items()}
    for _ in range(rounds):
        for kind, (side, *states) in KINDS.items():
            with tempfile.TemporaryDirectory() as cache:
                for state in states:
                    found[kind][state].append(start(side, name, batch_size, cache))
    return found


def start(side: str, name: str, batch_size: int, cache: str) -> float:
    """Return how long a process takes until its first step is done and it has ended."""
    kept = {
        "JAX_COMPILATION_CACHE_DIR": cache,
        "TORCHINDUCTOR_CACHE_DIR": cache,
        "TRITON_CACHE_DIR": f"{cache}/triton",
    }
    # JAX keeps by default only what took a second to compile.
    kept |= {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    command = [sys.executable, "-m", "benchmarks.startup", "--child", side, "--batch-size", str(batch_size), name]
    begin = time.perf_counter()
    subprocess.run(command, check=True, env=os.environ | kept, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def table(found: dict[str, dict[str, dict[str, list[float]]]]) -> str:
    """Return medians, in seconds, and ratios as Markdown."""
    lines = [
        "| network | Flax cold, warm | warm / cold | torch.compile cold, warm | eager | Flax / torch.compile, warm |"
    ]
    lines.append("| --- " * 6 + "|")
    for name, kinds in found.items():
        median = {kind: {s: statistics.median(times) for s, times in states.items()} for kind, states in kinds.items()}
        flax, compiled = median["Flax"], median["compiled"]
        cells = [f"`{name}`", f"{flax['cold']:.1f}, {flax['warm']:.1f}", f"{flax['warm'] / flax['cold']:.2f}"]
        cells += [f"{compiled['cold']:.1f}, {compiled['warm']:.1f}", f"{median['eager']['cold']:.1f}"]
        lines.append(f"| {' | '.join([*cells, format(flax['warm'] / compiled['warm'], '.2f')])} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
