"""Compile a program as its users do, and run it where a crash of XLA ends no more than a helper process."""

import atexit
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import jax
import jax.export
import numpy as np

from parity.compiler import worker
from parity.compiler.program import is_key

TIMEOUT = 600  # seconds; one known fault is an endless loop


class CrashError(RuntimeError):
    """XLA ended the process, or did not return."""


class Compiler:
    """Runs functions under `jax.jit`; on a CPU in a process of its own, started when it is needed.

    The process ends with this one, or at the end of a `with` block.
    """

    def __init__(self, timeout: float = TIMEOUT):
        self._process: subprocess.Popen[str] | None = None
        self._timeout = timeout
        atexit.register(self.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.close()
        atexit.unregister(self.close)

    def start(self) -> None:
        """Start the process, if it will be needed: it imports JAX meanwhile."""
        if jax.default_backend() == "cpu":
            self._started()

    def close(self) -> None:
        """End the process, if there is one."""
        if self._process:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def __call__(
        self,
        function: Callable[..., Sequence[Any]],
        arguments: Sequence[Any],
        options: Mapping[str, Any] | None = None,
    ) -> list[np.ndarray]:
        """Return what the compiled function returns for arrays.

        Args:
            function: of flat arguments, returning a sequence of arrays.
            arguments: arrays.
            options: for the compiler; by default none, as under a plain `jax.jit`.

        Raises:
            CrashError: says how the process ended.
        """
        keys = [jax.random.key_impl(array) if is_key(array) else None for array in arguments]
        arguments = [jax.random.key_data(a) if impl else a for a, impl in zip(arguments, keys, strict=True)]

        def run(*arrays: Any) -> Sequence[Any]:  # random keys cannot be written down, their data can
            pairs = zip(arrays, keys, strict=True)
            found = function(*(jax.random.wrap_key_data(a, impl=impl) if impl else a for a, impl in pairs))
            return [jax.random.key_data(array) if is_key(array) else array for array in found]

        exported = _export(run, arguments)
        if exported is None:
            compiled = jax.jit(run, compiler_options=dict(options) if options else None)
            return [np.asarray(array) for array in compiled(*arguments)]
        with tempfile.TemporaryDirectory(prefix="parity-compiler-") as name:
            folder = Path(name)
            (folder / "program").write_bytes(exported[1])
            (folder / "options.json").write_text(json.dumps(options), encoding="utf-8")
            cast = zip(arguments, exported[0].in_avals, strict=True)
            (folder / "arguments").write_bytes(b"".join(np.asarray(a, aval.dtype).tobytes() for a, aval in cast))
            self._run(folder)
            data, found = (folder / "outputs").read_bytes(), []
        for aval in exported[0].out_avals:
            size = aval.size * aval.dtype.itemsize
            found.append(np.frombuffer(data[:size], aval.dtype).reshape(aval.shape))
            data = data[size:]
        return found

    def _run(self, folder: Path) -> None:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        alarm = threading.Timer(self._timeout, process.kill)
        alarm.start()
        try:
            process.stdin.write(f"{folder}\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            late = not alarm.is_alive()
        finally:
            alarm.cancel()
        if answer == "done\n":
            return
        _, text = process.communicate()
        self._process = None
        if late:
            raise CrashError(f"no result after {self._timeout:g} s")
        code = process.returncode
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit status {code}"
        last = (text.strip().splitlines() or [""])[-1][:200]
        raise CrashError(f"{how}{': ' if last else ''}{last}")

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            # By its path, with -P: neither the user's folder nor that of the file comes to the front of sys.path.
            command = [sys.executable, "-P", worker.__file__]
            pipe = subprocess.PIPE
            self._process = subprocess.Popen(
                command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=environment()
            )
        return self._process


def environment() -> dict[str, str]:
    """Return the environment of the process: this one's, so that it compiles by the same flags."""
    return os.environ | {"JAX_PLATFORMS": "cpu"}


def _export(run: Callable[..., Any], arguments: Sequence[Any]) -> tuple[jax.export.Exported, bytearray] | None:
    """Return a function as a program that another process can read; None if it has to be run in this one."""
    if jax.default_backend() != "cpu":  # an accelerator's memory is not shared with a second process
        return None
    try:
        exported = jax.export.export(jax.jit(run))(*arguments)
        return exported, exported.serialize()
    except (NotImplementedError, TypeError, ValueError):  # a callback into Python, for one
        return None
