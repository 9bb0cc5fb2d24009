"""Where the loader's time goes: python benchmarks/loader_profile.py [--shape 32,32,3] [--batch-size 128].

Microseconds of CPU time a batch, of each function in `data`, with what it calls ("all") and without ("own"). It
profiles the `data` that Python finds, so an older one is profiled by `PYTHONPATH=OTHER_CHECKOUT`.
"""

import argparse
import cProfile
import time
from types import CodeType

import numpy as np

from data import Loader, Split

TASKS = {"raw": (), "normalised": (), "flip,crop": ("flip", "crop"), "affine": ("affine",)}


def main() -> None:
    """Profile each task, after one epoch that is not."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", default="32,32,3", help="of the images, height, width, channels")
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--examples", type=int, default=20_000)
    args = parser.parse_args()
    shape, rng = tuple(map(int, args.shape.split(","))), np.random.default_rng(0)
    split = Split(
        rng.integers(0, 256, (args.examples, *shape), np.uint8), rng.integers(0, 10, args.examples, np.int32)
    )
    mean, std = np.full(shape[-1], 0.45, np.float32), np.full(shape[-1], 0.25, np.float32)
    for task, augment in TASKS.items():
        loader = Loader(split, mean, std, args.batch_size, seed=0, augment=augment)
        batches = loader.raw if task == "raw" else loader.epoch
        for _ in batches(0):
            pass
        profile = cProfile.Profile(time.process_time)
        profile.enable()
        for _ in batches(1):
            pass
        profile.disable()
        show(task, profile, len(loader))


def show(task: str, profile: cProfile.Profile, batches: int) -> None:
    """Print the functions of `data`, the dearest first; leave out what takes less than a microsecond."""
    print(f"{task}\n{'all':>8}{'own':>8}  microseconds a batch")
    for entry in sorted(profile.getstats(), key=lambda entry: -entry.totaltime):
        code, whole = entry.code, 1e6 * entry.totaltime / batches
        if isinstance(code, CodeType) and "/data/" in code.co_filename and whole >= 1:
            print(f"{whole:8.0f}{1e6 * entry.inlinetime / batches:8.0f}  {code.co_name}")


if __name__ == "__main__":
    main()
