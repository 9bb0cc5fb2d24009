"""A frozen ResNet-50 on Fashion-MNIST: pre-train it on CIFAR-10 with PyTorch, then train the head in both frameworks.

Run by: python -m benchmarks.transfer FOLDER --data-dir DATA [--epochs 4] [--tf32]

Both see images of 48x48 pixels, of which 2x2 positions are left at the network's end; of 32x32 it would be one. A
training that was stopped is resumed.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.recipes import FRAMEWORKS

RECIPE = "resnet50-transfer-fashion"
PRETRAINING = "--model resnet50 --input-shape 48,48,3 --dataset cifar10 --batch-size 128 --optimizer adamw --lr 0.001"
PRETRAINING += " --weight-decay 0.05 --augment flip,crop,color --label-smoothing 0.1"


def main() -> None:
    """Train what is missing: the whole network, then each framework's head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=4, help="of the pre-training (default: 4)")
    parser.add_argument("--tf32", action="store_true", help="on a GPU, let float32 products be rounded to TF32")
    arguments = parser.parse_args()
    more = ["--data-dir", str(arguments.data_dir), *(["--tf32"] if arguments.tf32 else [])]
    for out, options in trainings(arguments.folder, arguments.epochs, more):
        if not (out / "summary.json").exists():
            framework = out.name.rpartition("-")[2]
            command = [sys.executable, "-m", f"{framework}.train", *options, "--out", str(out), "--resume", "auto"]
            subprocess.run(command, check=True)


def trainings(folder: Path, epochs: int, more: list[str]) -> Iterator[tuple[Path, list[str]]]:
    """Yield the run folder and the options of each training, in their order; `more` are options of all."""
    weights = folder / "resnet50-cifar10-torchnets"
    yield weights, [*PRETRAINING.split(), "--epochs", str(epochs), *more]
    for framework in FRAMEWORKS:
        yield folder / f"{RECIPE}-{framework}", ["--recipe", RECIPE, "--weights", str(weights), "--new-head", *more]


if __name__ == "__main__":
    main()
