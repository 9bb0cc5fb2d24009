"""The process that measures one framework: python -m parity.bench.worker FRAMEWORK, told what to do line by line.

It reads requests and writes answers, JSON objects, one a line. In between it sits blocked on its pipe: while the other
framework is measured, it uses no core and no device.
"""

import importlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

from data import UserError
from experiment.allocator import keep_freed_memory
from experiment.extras import needs_torch
from parity.bench.clock import Timed, steps_for
from parity.bench.examples import config_of
from parity.bench.plan import Setting

SIDES = {"jaxnets": "bench_flax", "torchnets": "bench_torch"}
WARM_UP = 2  # steps before each measurement; a CUDA graph or a loader may need the first


class Server:
    """Answers one request after the other; a method for each."""

    def __init__(self, framework: str):
        self.framework = framework
        self.bench: Any = None
        self.rates: dict[tuple[str, str], float] = {}  # examples a second, of task and feed

    def side(self) -> ModuleType:
        """Return the framework's module.

        Raises:
            UserError: torch is not installed.
        """
        try:
            return importlib.import_module(f"parity.bench.{SIDES[self.framework]}")
        except ModuleNotFoundError as error:
            if (error.name or "").split(".")[0] != "torch":
                raise
            raise needs_torch("parity") from None

    def describe(self) -> dict[str, Any]:
        """Say what runs here, on what."""
        found = self.side().describe()
        imported = [name for name in ("jax", "torch") if name in sys.modules]  # its own, and no other
        return {**found, "cores": len(os.sched_getaffinity(0)), "imported": imported}

    def peaks(self, setting: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        """Measure what the device can do."""
        return self.side().peaks(config_of(Setting(**setting)), seconds)

    def names(self) -> dict[str, Any]:
        """List the networks."""
        return {"names": sorted(self.side().MODELS)}

    def about(self, setting: Mapping[str, Any]) -> dict[str, Any]:
        """Say what is known of a network without running it."""
        from parity.bench import sizes  # here: it takes JAX

        return sizes.about(Setting(**setting))

    def prepare(self, setting: Mapping[str, Any]) -> dict[str, Any]:
        """Make the network ready; say what compiling and the first steps took."""
        self.bench = self.side().Bench(Setting(**setting))
        return self.bench.start()

    def first_steps(self, folder: str, **options: bool) -> dict[str, Any]:
        """Make the steps that both sides must agree on."""
        Path(folder).mkdir()
        return self.bench.first_steps(Path(folder), **options)

    def trial(self, task: str, feed: str, seconds: float) -> dict[str, Any]:
        """Find how many steps take so long, and measure them once."""
        self.bench.run(task, feed, WARM_UP)
        steps = steps_for(seconds, lambda steps: self.bench.run(task, feed, steps))
        return self._rate(task, feed, self.bench.run(task, feed, steps))

    def round(self, task: str, feed: str, seconds: float) -> dict[str, Any]:
        """Measure once, for about so long."""
        steps = max(1, round(self.rates[task, feed] * seconds / self.bench.config.batch_size))
        self.bench.run(task, feed, WARM_UP)
        return self._rate(task, feed, self.bench.run(task, feed, steps))

    def _rate(self, task: str, feed: str, timed: Timed) -> dict[str, Any]:
        self.rates[task, feed] = timed.rate
        return {"rate": timed.rate, "examples": timed.examples, "seconds": timed.seconds}

    def export(self, folder: str) -> dict[str, Any]:
        """Write the weights as they are now."""
        self.bench.export(Path(folder))
        return {}


def serve(server: Server, requests: TextIO, answers: TextIO) -> None:
    """Answer until there are no more requests."""
    for line in requests:
        request = json.loads(line)
        do = request.pop("do")
        try:
            answer = getattr(server, do)(**request)
        except UserError as error:
            answer = {"error": str(error), "user": True}
        except Exception as error:  # the one who asked decides what it means: a mode that is not possible here
            words = " ".join(str(error).split())
            answer = {"error": f"{type(error).__name__}: {words}", "user": False}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def main() -> None:
    """Serve on standard input and output; what else is printed goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the command, which ends its workers itself
    keep_freed_memory()  # as a training does
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(2, 1)
        serve(Server(sys.argv[1]), sys.stdin, answers)


if __name__ == "__main__":
    main()
