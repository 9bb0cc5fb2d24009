"""What JPEG costs: a published program for CIFAR-10, unmodified, on the JPEG version's images.

Run by: python -m benchmarks.jpeg PROGRAM.py --data-dir DATA [--runs 6] [--json FILE]

The program is one of the CIFAR-10 speedruns (as `airbench94_muon.py`), see `benchmarks.speedrun`. It runs on all
training images, on nine tenths of them (as many as our trainings have, which hold out the rest for validation), and on
images compressed once more. With TORCHDYNAMO_DISABLE=1 it does not compile, which takes longer than a few runs.
"""

import argparse
import io
import json
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.speedrun import run_original
from data import Dataset, Split, load
from torchnets.loop import describe

QUALITY, SUBSAMPLING = 75, 2  # those of the JPEG version: 2 is 4:2:0, half as many rows and columns of colour
BLOCK = 8  # pixels that JPEG compresses together


def main() -> None:
    """Run the program on each version of the images, print and write its accuracies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--runs", type=int, default=6)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    for images, dataset in versions(load("cifar10", arguments.data_dir)):
        accuracies = [run.accuracy for run in run_original(arguments.program, dataset, arguments.runs)]
        rows.append({"program": arguments.program.name, "images": images, "accuracies": accuracies})
        print(f"{images:45}{statistics.mean(accuracies):.2%} (mean of {len(accuracies)})", flush=True)
    if arguments.json:
        device, installed = describe()
        found = {"command": [Path(sys.argv[0]).name, *sys.argv[1:]], "device": device, "versions": installed}
        arguments.json.write_text(json.dumps(found | {"rows": rows}, indent=1) + "\n")


def versions(dataset: Dataset) -> Iterator[tuple[str, Dataset]]:
    """Yield the versions of the images, each with its name."""
    train, test = dataset.train, dataset.test
    yield "all training images", dataset
    most = len(train.labels) * 9 // 10
    yield "nine tenths of them", dataset._replace(train=Split(*(part[:most] for part in train)))
    twice = [Split(compressed(split.inputs), split.labels) for split in (train, test)]
    yield "all, compressed once more", dataset._replace(train=twice[0], test=twice[1])


def compressed(images: np.ndarray) -> np.ndarray:
    """Compress images (N, H, W, 3) uint8 as JPEG, and unpack them.

    The grid of blocks is moved by half a block: on its old grid an image from a JPEG would lose almost nothing.
    """
    half = BLOCK // 2
    height, width = images.shape[1:3]
    padded = np.pad(images, ((0, 0), (half, BLOCK + half), (half, BLOCK + half), (0, 0)), "reflect")
    unpacked = []
    for image in padded:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=QUALITY, subsampling=SUBSAMPLING)
        unpacked.append(np.asarray(Image.open(file))[half : half + height, half : half + width])
    return np.stack(unpacked)


if __name__ == "__main__":
    main()
