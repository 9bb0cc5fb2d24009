"""Compile and run programs that are read from files, one after the other, in a process that may crash.

Run by `parity.compiler.isolated`. Each line of standard input names a folder with the program, its arguments and its
compiler options; the outputs are written there, and one line is printed when they are.
"""

import json
import sys
from pathlib import Path

import jax
import numpy as np


def main() -> None:
    """Serve until standard input ends."""
    jax.config.update("jax_enable_x64", True)  # a program's own dtypes are written in it
    for line in sys.stdin:
        folder = Path(line.rstrip("\n"))
        exported = jax.export.deserialize(bytearray((folder / "program").read_bytes()))
        options = json.loads((folder / "options.json").read_text(encoding="utf-8")) or None
        data, arguments = (folder / "arguments").read_bytes(), []
        for aval in exported.in_avals:
            size = aval.size * aval.dtype.itemsize
            arguments.append(np.frombuffer(data[:size], aval.dtype).reshape(aval.shape))
            data = data[size:]
        found = jax.jit(exported.call, compiler_options=options)(*arguments)
        (folder / "outputs").write_bytes(b"".join(np.asarray(array).tobytes() for array in found))
        print("done", flush=True)


if __name__ == "__main__":
    main()
