"""A worker seen from the command: started, asked, ended."""

import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

from data import UserError
from experiment.cli.console_scripts import module_command

ROOT = Path(__file__).parents[2]
# What would hide how long compiling takes, or say otherwise than the plan what a framework runs on.
LEFT_OUT = ("JAX_COMPILATION_CACHE_DIR", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "JAX_PLATFORMS")
KEPT = ("XLA_FLAGS", "XLA_PYTHON_CLIENT_MEM_FRACTION", "TORCH_LOGS", "CUDA_VISIBLE_DEVICES", "NVIDIA_TF32_OVERRIDE")
LONGEST = 300  # characters of an error
ENDING = 10.0  # seconds that a worker may take to end by itself


class WorkerError(Exception):
    """A worker could not do what it was asked; its text says why."""


def environment(device: str, threads: int, caches: Path) -> dict[str, str]:
    """Return what a worker inherits: the device ("cpu", "gpu" or "" for any), thread count, and empty caches."""
    found = {name: value for name, value in os.environ.items() if name not in LEFT_OUT}
    found["PYTHONPATH"] = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    found |= {"TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"), "TRITON_CACHE_DIR": str(caches / "triton")}
    found["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"  # else JAX would take most of the memory that PyTorch needs
    if threads:
        found["OMP_NUM_THREADS"] = str(threads)
    if threads > 1:  # several devices of XLA's wait for each other in its threads; with one for each all would wait
        found["NPROC"] = str(4 * threads)
    if device == "cpu":
        found |= {"JAX_PLATFORMS": "cpu", "CUDA_VISIBLE_DEVICES": ""}
    elif device == "gpu":
        found["JAX_PLATFORMS"] = "cuda"
    return found


class Worker:
    """One process of one framework; used as a context, or closed by hand."""

    def __init__(self, framework: str, device: str = "", threads: int = 0):
        self.framework, self._closed = framework, False
        self._folder = tempfile.TemporaryDirectory(prefix="jaxnets-bench-")
        self.folder = Path(self._folder.name)
        self._log = (self.folder / "log").open("w+", encoding="utf-8", errors="replace")
        self._process = subprocess.Popen(
            module_command("parity.bench.worker", framework),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment(device, threads, self.folder),
            text=True,
        )

    def ask(self, do: str, **what: Any) -> dict[str, Any]:
        """Send a request and wait for the answer.

        Raises:
            UserError: the user can put it right.
            WorkerError: it cannot be done here, or the process has died.
        """
        pipes = self._process.stdin, self._process.stdout
        if pipes[0] is None or pipes[1] is None:
            raise WorkerError(f"{self.framework}: no pipes")
        try:
            pipes[0].write(json.dumps({"do": do, **what}) + "\n")
            pipes[0].flush()
            line = pipes[1].readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise WorkerError(f"{self.framework}: the process has ended ({self._last_words()})")
        answer = json.loads(line)
        if "error" in answer:
            words = answer["error"]
            raise (UserError(words) if answer["user"] else WorkerError(words[:LONGEST]))
        return answer

    def _last_words(self) -> str:
        code = self._process.wait()
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return f"exit code {code}: {lines[-1][:LONGEST] if lines else 'nothing was said'}"

    def close(self) -> None:
        """End the process, by force if it does not by itself."""
        if self._closed:
            return
        self._closed = True
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(ENDING)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
        self._log.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
