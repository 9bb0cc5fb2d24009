"""PyTorch's side of the benchmark: the trainer's own steps, and a clock around them. Twin of `bench_flax`."""

import dataclasses
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import count, cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from experiment.config import Config
from experiment.runs.folder import WEIGHTS, write_weights
from experiment.weights.safetensors_file import read_weights
from parity.bench.clock import Timed, best_seconds
from parity.bench.examples import AGREE_EXAMPLES, AGREE_STEPS, config_of, make_loader, pool, without_dropout
from parity.bench.plan import EAGER, STEP, Setting
from parity.bench.torch_loader import DATA_LOADER, batches_of
from parity.copy import as_array
from torchnets import MODELS, loop
from torchnets.compose import compute_dtype, training
from torchnets.input_pipeline import DEVICE, on_device, on_host
from torchnets.precision import in_precision
from torchnets.tensors import as_tensors

ON_GPU = DEVICE.type == "cuda"
LAYOUTS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
Numbers = dict[str, Any]  # for JSON
Pair = tuple[torch.Tensor, torch.Tensor]  # inputs (N, C, ...), labels


def describe() -> Numbers:
    """Return the device, its kind and the versions."""
    device, versions = loop.describe()
    if ON_GPU:
        versions |= {"cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version())}
    return {"device": device, "kind": "gpu" if ON_GPU else "cpu", "versions": versions}


def peaks(config: Config, seconds: float) -> Numbers:
    """Return what the device was seen to do: products and sums a second, and bytes a second."""
    loop.set_precision(config)
    dtype = compute_dtype(config) or torch.float32
    side, values = (8192, 2**28) if ON_GPU else (2048, 2**26)
    a, b = (torch.rand(side, side, dtype=dtype, device=DEVICE) for _ in range(2))
    product = best_seconds(lambda: (torch.mm(a, b), synchronise()), seconds)
    held = torch.zeros(values, device=DEVICE)

    def move() -> None:
        held.add_(1)
        synchronise()

    return {"flops": 2 * side**3 / product, "bandwidth": 2 * 4 * values / best_seconds(move, seconds)}


def synchronise() -> None:
    """Wait until the device has done all that it was told."""
    if ON_GPU:
        torch.cuda.synchronize()


def _function(step: Callable[[Pair], Any]) -> Callable[[Pair], Any]:
    """Return a step as a plain function, which is what `torch.compile` takes."""

    def plain(batch: Pair) -> Any:
        return step(batch)

    return plain


def _nothing() -> None:
    """Do nothing."""


class Bench:
    """One network on the device, to be trained and to infer; all that it does ends when the device has done it."""

    def __init__(self, setting: Setting):
        self.config = config = config_of(setting)
        loop.set_precision(config)
        torch.backends.cudnn.benchmark = True  # XLA tries its algorithms, too
        if setting.threads:
            torch.set_num_threads(setting.threads)
        self.entry, self.mode, self.folder = MODELS[setting.name], setting.mode, Path(setting.weights)
        self.layout = LAYOUTS.get(setting.layout)
        self.loader, self.classes = make_loader(self.entry, loop.summarize(self.entry)[-1].shape[-1], config, MODELS)
        self.batches = pool(self.loader)
        self.model, _ = loop.create(self.entry, self.classes, config.seed)
        self._lay_out(self.model)
        self.dtype, whole = compute_dtype(config), setting.mode.endswith(STEP)
        self.network = self._compiled(self.model)
        training_of = training(self.model, config, 1, module=self.model if whole else self.network)
        self.optimizer = training_of.state.optimizer
        self.step = self._compiled(_function(training_of.step)) if whole else training_of.step
        # Says of CUDA graphs that what the step before has put out may be overwritten; else it would only take time.
        graphs = ON_GPU and self.mode.removesuffix(STEP) in ("reduce-overhead", "max-autotune")
        self.begin = torch.compiler.cudagraph_mark_step_begin if graphs else _nothing
        self.feeds: dict[str, Iterator[Pair]] = {}
        self.reset()

    def _lay_out(self, model: nn.Module) -> nn.Module:
        move: Any = model.to  # its signature knows no memory format alone
        return move(memory_format=self.layout) if self.layout else model

    def _compiled(self, function: Any) -> Any:
        """Return what the mode makes of a network or a step."""
        mode = self.mode.removesuffix(STEP)
        return function if mode == EAGER else torch.compile(function, mode="default" if mode == "compile" else mode)

    def reset(self) -> None:
        """Go back to the weights of the file."""
        self._load(self.model)
        self.optimizer.state.clear()

    def _load(self, model: nn.Module) -> None:
        model.load_state_dict(loop.restore(model.state_dict(), read_weights(self.folder / WEIGHTS)))

    def start(self) -> Numbers:
        """Compile, make the first step and the first pass, and put the batches onto the device."""
        first = self._pair(as_tensors(self.batches[0], DEVICE))
        # One batch is on the device, and a few steps are done: then the memory is that of a training step.
        training = self._first(lambda: self.train([first]))
        self.train([first] * AGREE_STEPS)
        memory = {"peak_bytes": torch.cuda.max_memory_allocated() if ON_GPU else None}
        inference = self._first(lambda: self.infer([first]))
        self.feeds["device"] = cycle([self._pair(as_tensors(batch, DEVICE)) for batch in self.batches])
        return {"training": training, "inference": inference, "memory": memory, **self._graphs()}

    def _graphs(self) -> Numbers:
        """Return how many graphs were compiled, and how often the code broke out of one."""
        if self.mode == EAGER:
            return {}
        from torch._dynamo.utils import counters  # here: it takes seconds

        return {"graphs": counters["stats"]["unique_graphs"], "breaks": sum(counters["graph_break"].values())}

    def _pair(self, batch: Pair) -> Pair:
        """Return a batch whose images lie as the network wants them."""
        inputs, labels = batch
        return (inputs.contiguous(memory_format=self.layout) if self.layout else inputs), labels

    def train(self, batches: Iterable[Pair]) -> Any:
        """Make a step with each batch; return the metrics of the last."""
        metrics: Any = {}
        for batch in batches:
            self.begin()
            metrics = self.step(batch)
        synchronise()
        return metrics

    def infer(self, batches: Iterable[Pair]) -> Any:
        """Compute the logits of each batch; return the last."""
        self.model.eval()
        logits: Any = None
        # Not the trainer's eval_step, which takes the weights as an argument: that is slower, and nobody has to.
        call = in_precision(self.network, self.dtype) if self.dtype else self.network
        with torch.inference_mode():
            for inputs, _ in batches:
                self.begin()
                logits = call(inputs)
        synchronise()
        return logits

    def first_steps(self, folder: Path, *, dropout: bool, exact: bool = False) -> Numbers:
        """Return the first logits, losses and norms of the gradients, and write the weights after the first step.

        With `dropout`, the network has some, and its twin without is trained: masks never agree (trap 20). With
        `exact`, that is done in float64.
        """
        self.reset()
        batches = [self._pair(as_tensors(batch, DEVICE)) for batch in self.batches[:AGREE_STEPS]]
        logits = as_array(self.infer(batches[:1])[:AGREE_EXAMPLES])
        own = self.model, self.step, self.config
        if dropout or exact:  # not compiled: that would take as long again as it did for the network
            entry = without_dropout(self.entry, self.config, MODELS)
            self.model = self._lay_out(loop.create(entry, self.classes, self.config.seed)[0])
            self._load(self.model)
            if exact:
                self.model = self.model.double()
                self.config = dataclasses.replace(self.config, precision="float64")
                batches = [(inputs.double(), labels) for inputs, labels in batches]
            self.step = training(self.model, self.config, 1).step
        steps = []
        for batch in batches:
            metrics = self.train([batch])
            steps.append({name: float(metrics[name]) for name in ("loss", "grad_norm")})
            if len(steps) == 1:
                self.export(folder)
        self.model, self.step, self.config = own
        self.reset()
        return {"logits": logits.astype(np.float64).tolist(), "steps": steps}

    def run(self, task: str, feed: str, steps: int) -> Timed:
        """Do a task with batches from the device or from a loader, so many; return how long it took."""
        work = {"training": self.train, "inference": self.infer}[task]
        batches = self._feed(feed)
        if feed.startswith(DATA_LOADER):
            next(batches)  # its processes have started
        start = time.perf_counter()
        work(islice(batches, steps))
        seconds = time.perf_counter() - start
        if feed.startswith(DATA_LOADER):
            del self.feeds[feed]  # its processes end, lest they work while the other framework is measured
        return Timed(steps * self.config.batch_size, seconds)

    def _feed(self, name: str) -> Iterator[Pair]:
        if name not in self.feeds and name.startswith(DATA_LOADER):
            self.feeds[name] = map(self._pair, batches_of(self.loader, name, DEVICE))
        if name not in self.feeds:
            ways = {"loader": on_host, "loader, finished on the device": on_device}
            batches = ways[name](self.loader)
            self.feeds[name] = (self._pair(batch) for epoch in count() for batch in batches(epoch, 0))
        return self.feeds[name]

    def export(self, folder: Path) -> None:
        """Write the weights as they are now."""
        write_weights(folder, loop.export(self.model.state_dict()))

    def _first(self, call: Callable[[], object]) -> Numbers:
        """Return the seconds of compiling, which a later call does not take, and of all until the first is done."""
        start = time.perf_counter()
        call()
        first = time.perf_counter() - start
        call()  # CUDA graphs are recorded by the second
        start = time.perf_counter()
        call()
        compiling = 0.0 if self.mode == EAGER else max(0.0, first - (time.perf_counter() - start))
        return {"compile_seconds": compiling, "first_seconds": first}
