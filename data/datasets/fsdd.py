"""Free Spoken Digit Dataset: ten digits, six speakers, fifty recordings of each, at 8 kHz.

Source: Jackson et al., https://github.com/Jakobovski/free-spoken-digit-dataset (CC BY-SA 4.0). Its README gives the
split: recordings 0 to 4 of every digit and speaker are the test set.
"""

import re
from pathlib import Path

import numpy as np

from data.base import DataError, Dataset, Source, Split, make_dataset
from data.sound import read_windows

FOLDER = "free-spoken-digit-dataset"  # or with -master or a version appended, as in GitHub's archives
ADDRESS = "https://github.com/Jakobovski/free-spoken-digit-dataset"
NAME = re.compile(r"([0-9])_([a-z]+)_([0-9]+)\.wav")  # digit, speaker, index
RATE = 8000  # Hz
LENGTH = 8000  # samples: one second; 20 of the 3,000 recordings are longer
TEST_INDICES = 5


def load(data_dir: Path) -> Dataset:
    """Read all recordings as clips of one second.

    Returns:
        Waveforms (N, 8000, 1), padded with silence at the end; 2,700 for training and 300 for testing. Of longer
        recordings they are the first window; the others are in `Dataset.windows`.

    Raises:
        DataError: the folder is missing or empty, or a file is damaged or has an unexpected name.
    """
    folder = _find(data_dir)
    train, test = [], []
    for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
        name = NAME.fullmatch(path.name)
        if not name:
            raise DataError(f"{path}: expected a name like 7_jackson_32.wav (digit, speaker, index), found this")
        (test if int(name[3]) < TEST_INDICES else train).append((path, int(name[1])))
    for what, found in (("training", train), ("test", test)):
        if not found:
            raise DataError(f"{folder}: found no {what} recordings. Fetch them with: {_command(data_dir)}")
    splits, windows = {}, {}
    for name, found in (("train", train), ("test", test)):
        paths, labels = zip(*found, strict=True)
        clips, more = read_windows(paths, LENGTH, RATE)
        splits[name] = Split(clips, np.array(labels, np.int32))
        windows |= {name: more} if more else {}
    return make_dataset(splits["train"], splits["test"], tuple("0123456789"), rate=RATE, windows=windows)


def _find(data_dir: Path) -> Path:
    found = sorted(path for path in data_dir.glob(f"{FOLDER}*/recordings") if path.is_dir())
    if not found:
        looked = f"{data_dir / FOLDER}/recordings nor at {data_dir / FOLDER}-*/recordings"
        raise DataError(f"fsdd: no folder at {looked}. Fetch it with: {_command(data_dir)}")
    if len(found) > 1:
        raise DataError(f"fsdd: found {' and '.join(map(str, found))}; move away all but one")
    return found[0]


def download(data_dir: Path) -> None:
    """Raise an error with the command to run: only archive 1.0.9, which lacks a speaker, has a published SHA-256."""
    raise DataError(
        "fsdd: no archive of all 3,000 recordings has a published SHA-256, so this command does not fetch it; "
        f"run: {_command(data_dir)}"
    )


def _command(data_dir: Path) -> str:
    return f"git clone --depth 1 {ADDRESS} {data_dir / FOLDER}"


DATASETS = {"fsdd": Source(load, download, "2,700 + 300 spoken digits, 1 s at 8 kHz (Free Spoken Digit Dataset)")}
