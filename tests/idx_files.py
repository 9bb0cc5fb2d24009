"""A small dataset of MNIST's layout, and the ways in which a file can be bad."""

import gzip
import struct
from pathlib import Path

import numpy as np

COUNTS = {"train": 60, "t10k": 20}


def idx_bytes(array: np.ndarray, *, magic: int | None = None, shape: tuple[int, ...] | None = None) -> bytes:
    magic = 0x0800 | array.ndim if magic is None else magic
    shape = array.shape if shape is None else shape
    return struct.pack(f">{1 + len(shape)}I", magic, *shape) + array.tobytes()


def arrays(seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {}
    for name, count in COUNTS.items():
        made[f"{name}-images-idx3-ubyte"] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        made[f"{name}-labels-idx1-ubyte"] = (np.arange(count) % 10).astype(np.uint8)
    return made


def write_tree(root: Path, folder: str = "MNIST", zipped: bool = False) -> Path:
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    for name, array in arrays().items():
        content = idx_bytes(array)
        (raw / (name + ".gz" * zipped)).write_bytes(gzip.compress(content) if zipped else content)
    return raw
