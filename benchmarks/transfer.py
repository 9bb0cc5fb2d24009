"""A frozen ResNet-50 on Fashion-MNIST: pre-train it on CIFAR-10 with PyTorch, then train the head in both frameworks.

Run by: python -m benchmarks.transfer FOLDER --data-dir DATA [--epochs 15] [--tf32]

The registered `resnet50` is for 224x224 pixels; its weights do not depend on that, and here it sees images of 32x32,
as `resnet50_transfer` does.
"""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.recipes import FRAMEWORKS
from experiment.cli import train
from torchnets import MODELS

RECIPE = "resnet50-transfer-fashion"
PRETRAINING = "--model resnet50 --dataset cifar10 --batch-size 128 --optimizer nesterov --lr 0.05"
PRETRAINING += " --weight-decay 5e-4 --augment flip,crop --label-smoothing 0.1"


def main() -> None:
    """Train what is missing: the whole network, then each framework's head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=15, help="of the pre-training (default: 15)")
    parser.add_argument("--tf32", action="store_true", help="on a GPU, let float32 products be rounded to TF32")
    arguments = parser.parse_args()
    weights = arguments.folder / "resnet50-cifar10-torchnets"
    more = ["--data-dir", str(arguments.data_dir), *(["--tf32"] if arguments.tf32 else [])]
    if not (weights / "summary.json").exists():
        pretrain([*PRETRAINING.split(), "--epochs", str(arguments.epochs), *more, "--out", str(weights)])
    for framework in FRAMEWORKS:
        out = arguments.folder / f"{RECIPE}-{framework}"
        if not (out / "summary.json").exists():
            options = ["--recipe", RECIPE, "--weights", str(weights), "--new-head", *more, "--out", str(out)]
            subprocess.run([sys.executable, "-m", f"{framework}.train", *options], check=True)


def pretrain(options: list[str]) -> None:
    """Train `resnet50` at 32x32 in this process, with the options of the training command."""
    MODELS["resnet50"] = MODELS["resnet50"]._replace(input_shape=(32, 32, 3))
    sys.argv[1:] = options
    try:
        train.main("torchnets")
    except SystemExit as done:  # a command's end
        if done.code:
            raise


if __name__ == "__main__":
    main()
