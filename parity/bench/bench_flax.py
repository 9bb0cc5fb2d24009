"""Flax's side of the benchmark: the trainer's own steps, and a clock around them. Twin of `bench_torch`."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from data import Batch
from experiment.config import Config
from experiment.runs.folder import WEIGHTS, write_weights
from experiment.weights.safetensors_file import read_weights
from jaxnets import MODELS, loop
from jaxnets.compose import compute_dtype, in_precision, training
from jaxnets.environment import start_device
from jaxnets.input_pipeline import on_device
from jaxnets.sharding import divide, make_mesh, replicate, sharing, whole
from jaxnets.step import eval_step
from parity.bench.clock import Timed, best_seconds
from parity.bench.examples import AGREE_EXAMPLES, AGREE_STEPS, config_of, make_loader, pool, without_dropout
from parity.bench.plan import Setting

WINDOW = 32  # passes that may be under way at once
Numbers = dict[str, Any]  # for JSON


def describe() -> Numbers:
    """Return the device, its kind and the versions."""
    start_device()
    device, versions = loop.describe()
    return {"device": device, "kind": "cpu" if jax.default_backend() == "cpu" else "gpu", "versions": versions}


def peaks(config: Config, seconds: float) -> Numbers:
    """Return what the device was seen to do: products and sums a second, and bytes a second."""
    loop.set_precision(config)
    dtype, on_cpu = compute_dtype(config) or jnp.float32, jax.default_backend() == "cpu"
    side, values = (2048, 2**26) if on_cpu else (8192, 2**28)
    a, b = (jax.random.uniform(jax.random.key(at), (side, side), dtype) for at in (0, 1))
    multiply = jax.jit(jnp.matmul)
    product = best_seconds(lambda: multiply(a, b).block_until_ready(), seconds)
    add = jax.jit(lambda x: x + 1, donate_argnums=0)  # in place: on a CPU it is new memory that is slow
    held = [jnp.zeros(values)]

    def move() -> None:
        held[0] = add(held[0]).block_until_ready()

    return {"flops": 2 * side**3 / product, "bandwidth": 2 * 4 * values / best_seconds(move, seconds)}


class Bench:
    """One network on the device, to be trained and to infer; all that it does ends when the device has done it."""

    def __init__(self, setting: Setting):
        if setting.threads:
            jax.config.update("jax_num_cpu_devices", setting.threads)
        self.config = config = config_of(setting)
        loop.set_precision(config)
        self.entry, self.scans, self.folder = MODELS[setting.name], setting.mode == "scan", Path(setting.weights)
        self.loader, self.classes = make_loader(self.entry, loop.summarize(self.entry)[-1].shape[-1], config, MODELS)
        self.batches = pool(self.loader)
        self.model, variables = loop.create(self.entry, self.classes, config.seed)
        self.template = jax.tree.map(np.asarray, variables)  # off the device: it would count as memory of the training
        if not (self.folder / WEIGHTS).exists():  # the first worker of all makes the weights, of both frameworks
            write_weights(self.folder, loop.export(self.template))
        self.mesh = make_mesh()
        self.begin, self.taken = training(self.model, config, 1)
        self.step = self._step(self.model)
        self.predict = jax.jit(sharing(partial(eval_step, in_precision(self.model, config)), self.mesh))
        self.steps, self.predictions = self._scanned()
        self.feeds: dict[str, Iterator[Batch]] = {}
        self.reset()

    def _step(self, model: nn.Module) -> Any:
        step = training(model, self.config, 1).step
        return jax.jit(sharing(step, self.mesh), donate_argnums=0, out_shardings=whole(self.mesh))

    def _place(self, batch: Batch) -> Batch:
        """Return a batch that lies where it is computed with; one for a single device goes there with the call."""
        return divide(batch, len(batch.labels), self.mesh)

    def _scanned(self) -> tuple[Any, Any]:
        """Return the step over many batches, and the pass over many inputs: one call for all of them."""
        predict = partial(eval_step, in_precision(self.model, self.config))
        steps = jax.jit(lambda state, batches: jax.lax.scan(self.taken, state, batches), donate_argnums=0)
        return steps, jax.jit(lambda variables, inputs: jax.lax.map(partial(predict, variables), inputs))

    def reset(self) -> None:
        """Go back to the weights of the file."""
        variables = loop.restore(self.template, read_weights(self.folder / WEIGHTS))
        self.state = replicate(self.begin(variables, self.config.seed), self.mesh)

    def start(self) -> Numbers:
        """Compile, make the first step and the first pass, and put the batches onto the device."""
        first = jax.device_put(self._place(self.batches[0]))
        # One batch is on the device, and a few steps are done: then the memory is that of a training step.
        training, size = _first(self.step, (self.state, first), lambda: self.train([first]))
        self.train([first] * AGREE_STEPS)
        memory = {"peak_bytes": _peak_bytes(), "compiled_bytes": size}
        inference, _ = _first(self.predict, (self.state.variables, first.inputs), lambda: self.infer([first]))
        if self.scans:
            self.stacked: Batch = jax.device_put(Batch(*map(np.stack, zip(*self.batches, strict=True))))
            variables, inputs = self.state.variables, self.stacked.inputs
            training, _ = _first(self.steps, (self.state, self.stacked), lambda: self.train_scanned(1))
            inference, _ = _first(self.predictions, (variables, inputs), lambda: self.infer_scanned(1))
        else:
            self.feeds["device"] = cycle([jax.device_put(self._place(batch)) for batch in self.batches])
        return {"training": training, "inference": inference, "memory": memory}

    def train(self, batches: Iterable[Batch]) -> Any:
        """Make a step with each batch; return the metrics of the last."""
        metrics: Any = {}
        for batch in batches:
            self.state, metrics = self.step(self.state, batch)
        jax.block_until_ready((self.state, metrics))
        return metrics

    def infer(self, batches: Iterable[Batch]) -> None:
        """Compute the logits of each batch."""
        logits: deque[jax.Array] = deque()
        for batch in batches:
            logits.append(self.predict(self.state.variables, batch.inputs))
            if len(logits) > WINDOW:
                logits.popleft().block_until_ready()
        jax.block_until_ready(list(logits))

    def train_scanned(self, calls: int) -> Any:
        """Make a step with each batch on the device, so many times; return the metrics of the last time's steps."""
        metrics: Any = {}
        for _ in range(calls):
            self.state, metrics = self.steps(self.state, self.stacked)
        jax.block_until_ready((self.state, metrics))
        return metrics

    def infer_scanned(self, calls: int) -> None:
        """Compute the logits of each batch on the device, so many times."""
        logits: deque[jax.Array] = deque()
        for _ in range(calls):
            logits.append(self.predictions(self.state.variables, self.stacked.inputs))
            if len(logits) > WINDOW:
                logits.popleft().block_until_ready()
        jax.block_until_ready(list(logits))

    def first_steps(self, folder: Path, *, dropout: bool) -> Numbers:
        """Return the first logits, losses and norms of the gradients, and write the weights after the first step.

        With `dropout`, the network has some, and its twin without is trained: masks never agree (trap 20).
        """
        self.reset()
        batches = [self._place(batch) for batch in self.batches[:AGREE_STEPS]]
        logits = self.predict(self.state.variables, batches[0].inputs)
        if self.scans:
            logits = self.predictions(self.state.variables, self.stacked.inputs)[0]
        step = self.step
        if dropout:
            entry = without_dropout(self.entry, self.config, MODELS)
            self.step = self._step(entry.build(num_classes=self.classes))
        steps = []
        for batch in batches:
            metrics = self.train([batch])
            steps.append({name: float(metrics[name]) for name in ("loss", "grad_norm")})
            if len(steps) == 1:
                self.export(folder)
        self.step = step
        self.reset()
        if self.scans and not dropout:  # the first steps of the scan itself
            metrics = self.train_scanned(1)
            steps = [{name: float(metrics[name][at]) for name in ("loss", "grad_norm")} for at in range(AGREE_STEPS)]
            self.reset()
        return {"logits": np.asarray(logits[:AGREE_EXAMPLES], np.float64).tolist(), "steps": steps}

    def run(self, task: str, feed: str, steps: int) -> Timed:
        """Do a task with batches from the device or from a loader, about so many; return how long it took."""
        if feed == "device" and self.scans:
            calls = -(-steps // len(self.batches))
            work = partial({"training": self.train_scanned, "inference": self.infer_scanned}[task], calls)
            steps = calls * len(self.batches)
        else:
            batches = islice(self._feed(feed), steps)
            work = partial({"training": self.train, "inference": self.infer}[task], batches)
        start = time.perf_counter()
        work()
        return Timed(steps * self.config.batch_size, time.perf_counter() - start)

    def _feed(self, name: str) -> Iterator[Batch]:
        if name not in self.feeds:
            batches = {"loader": self.loader.epoch, "loader, finished on the device": on_device(self.loader)}[name]
            self.feeds[name] = (self._place(batch) for epoch in count() for batch in batches(epoch, 0))
        return self.feeds[name]

    def export(self, folder: Path) -> None:
        """Write the weights as they are now."""
        write_weights(folder, loop.export(self.state.variables))


def _first(function: Any, arguments: tuple[Any, ...], call: Callable[[], object]) -> tuple[Numbers, int | None]:
    """Return the seconds of compiling and of all until the first call is done; and the bytes it needs, if known."""
    start = time.perf_counter()
    compiled = function.lower(*arguments).compile()
    compile_seconds = time.perf_counter() - start
    call()  # takes what was compiled
    seconds = {"compile_seconds": compile_seconds, "first_seconds": time.perf_counter() - start}
    if (found := compiled.memory_analysis()) is None:
        return seconds, None
    size = found.argument_size_in_bytes + found.output_size_in_bytes + found.temp_size_in_bytes
    return seconds, (size - found.alias_size_in_bytes) * jax.device_count()  # it is said of one device


def _peak_bytes() -> int | None:
    """Return the most memory that was ever in use on the device; a CPU does not say."""
    return (jax.devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
