"""Speech Commands 0.02: one-second recordings of 35 words by 2,618 speakers, at 16 kHz.

Source: Warden 2018, "Speech Commands: A Dataset for Limited-Vocabulary Speech Recognition", arXiv 1804.03209
(CC BY 4.0), in torchaudio's folder layout. Its own lists define the validation and test splits.
"""

from pathlib import Path

import numpy as np

from data.archive import unpack
from data.base import DataError, Dataset, Source, Split, make_dataset
from data.download import fetch
from data.sound import read_windows

FOLDER = Path("SpeechCommands") / "speech_commands_v0.02"
RATE = LENGTH = 16000  # Hz, and samples: one second
LISTS = {"validation": "validation_list.txt", "test": "testing_list.txt"}
TABLE = """backward bed bird cat dog down eight five follow forward four go happy house learn left marvin nine no off
on one right seven sheila six stop three tree two up visual wow yes zero"""  # table 1 of the paper
WORDS = frozenset(TABLE.split())
MIRRORS = (
    "https://storage.googleapis.com/download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
    "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
)
# As in torchaudio and TensorFlow Datasets.
SHA256 = "af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58"
WANTED = rf"({'|'.join(sorted(WORDS))}|_background_noise_)/[\w-]+\.wav|{'|'.join(LISTS.values())}|LICENSE|README\.md"
MAX_BYTES = 2**32  # unpacked: 105,829 files of at most 32,044 bytes


def load(data_dir: Path) -> Dataset:
    """Read the words that have a folder, without the background noise.

    Returns:
        Waveforms (N, 16000, 1), padded with silence at the end: with all 35 words 84,843 for training, 9,981 for
        validation and 11,005 for testing.

    Raises:
        DataError: the folder or a list is missing, a folder is not one of the 35 words, a list names a missing file,
            or a file is damaged.
    """
    folder = data_dir / FOLDER
    if not folder.is_dir():
        raise DataError(f"speech_commands: no folder at {folder}. {_fetch_it(data_dir)}")
    words = sorted(path.name for path in folder.iterdir() if path.is_dir() and path.name[0] not in "._")
    if not words:
        raise DataError(f"{folder}: expected a folder for each word, found none. Move it away. {_fetch_it(data_dir)}")
    if unknown := [word for word in words if word not in WORDS]:
        raise DataError(
            f"{folder}: found folders that are none of the 35 words: {', '.join(unknown)}"
            f"; of other words the folder is a dataset by itself: --dataset {folder}"
        )
    found = {f"{word}/{p.name}" for word in words for p in (folder / word).glob("*.wav") if p.name[0] != "."}
    splits = {name: _read_list(folder / file, found) for name, file in LISTS.items()}
    if both := splits["validation"] & splits["test"]:
        raise DataError(f"{folder}: both lists name {min(both)}; a file can be for validation or for testing only")
    splits["train"] = found - splits["validation"] - splits["test"]
    parts, windows = {}, {}
    for name in ("train", "validation", "test"):
        order = sorted(splits[name])
        labels = np.array([words.index(file.split("/")[0]) for file in order], np.int32)
        clips, more = read_windows([folder / file for file in order], LENGTH, RATE)
        parts[name] = Split(clips, labels)
        windows |= {name: more} if more else {}
    held = parts["validation"]
    return make_dataset(parts["train"], parts["test"], tuple(words), validation=held, rate=RATE, windows=windows)


def download(data_dir: Path) -> None:
    """Download the archive (2.3 GB), check its SHA-256 and unpack it, unless the folder exists."""
    if (data_dir / FOLDER).exists():
        return
    archive = data_dir / "speech_commands_v0.02.tar.gz"
    fetch(MIRRORS, archive, SHA256)
    unpack(archive, data_dir / FOLDER, wanted=WANTED, max_bytes=MAX_BYTES)
    archive.unlink()


def _fetch_it(data_dir: Path) -> str:
    return f"Fetch it with: python -m data download speech_commands --data-dir {data_dir}"


def _read_list(path: Path, found: set[str]) -> set[str]:
    try:
        names = set(path.read_text(encoding="utf-8").split())
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); without it there is no official split") from None
    except UnicodeDecodeError:
        raise DataError(f"{path}: expected a list of file names, found bytes that are no text") from None
    if missing := sorted(names - found):
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DataError(f"{path}: names {missing[0]}{more}, but there is no such file in {path.parent}")
    return names


DATASETS = {
    "speech_commands": Source(
        load, download, "84,843 + 9,981 + 11,005 spoken words of 35, 1 s at 16 kHz (Warden 2018), 2.3 GB"
    )
}
