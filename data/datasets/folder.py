"""Your own images or sounds in one folder per class: `--dataset PATH` or `--dataset folder --data-dir PATH`.

The layout is PATH/train/<class>/*.jpg and PATH/test/<class>/*.jpg, with or without PATH/val/<class>/*.jpg, or
PATH/<class>/*.jpg alone. Without a test part the hash of each file's content assigns it to the training or the test
part (about a fifth), so copies of an image are in the same part, and adding images moves none of the others. Sounds
likewise.
"""

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np

from data import sound_folder
from data.base import CURRENT, DataError, Dataset, Reading, Source, Split, make_dataset
from data.layout import PICTURES, SOUNDS, Files, Kind, Layout, describe, find, find_either
from data.pictures import DEPTHS, read_with_depth
from data.pictures import read_picture as read_picture

TEST_SHARE = 0.2


def load(folder: Path, input_shape: tuple[int, ...] | None = None, reading: Reading = CURRENT) -> Dataset:
    """Read every picture and fit it to the input size of the network, or every sound.

    Args:
        folder: the folder with the classes.
        input_shape: (H, W, C); every image is cropped around its centre to this aspect ratio and resized. For sounds
            (length, 1), the samples of a clip; see `Reading.seconds`.
        reading: by which rules, how many bits 16-bit pictures have, the rate and the length of clips.

    Returns:
        Images (N, H, W, 3) in colour. Transparent parts become white; the EXIF orientation is applied. Of sounds see
        `data.sound_folder.read`.

    Raises:
        DataError: there are no files, the parts have different classes, or a file cannot be read.
    """
    layout = _find(folder, input_shape, reading)
    parts, notes = dict(layout.parts), [describe(layout.unused)]
    if layout.kind is PICTURES and (input_shape is None or len(input_shape) != 3):
        raise DataError(
            f"{folder} holds pictures, which need a network that takes images (H, W, C), not {input_shape}"
        )
    if "test" not in parts:
        source = "train" if "train" in parts else ""
        parts["train"], parts["test"] = _split(folder, parts.pop(source), layout.kind, evenly=not reading.first_rules)
        if source:
            notes.append(f"{folder.name} has no test set: about a fifth of train/, by content, is for testing")
    if layout.kind is SOUNDS:
        made = sound_folder.read(folder, parts, input_shape, reading)
    else:
        made = _pictures(parts, input_shape or (), reading)
    shown = () if reading.first_rules else tuple(note for note in notes if note)
    return made._replace(notes=shown + made.notes)


def _find(folder: Path, input_shape: tuple[int, ...] | None, reading: Reading) -> Layout:
    """Find pictures or sounds: those that the network takes, and if there are none the others."""
    if reading.first_rules:
        return find(folder, first_rules=True)
    sounds = reading.sounds or (input_shape is not None and len(input_shape) == 2)
    return find_either(folder, (SOUNDS, PICTURES) if sounds else (PICTURES, SOUNDS))


def _pictures(parts: dict[str, Files], input_shape: tuple[int, ...], reading: Reading) -> Dataset:
    """Read the pictures of all parts."""
    classes = tuple(parts["train"])
    depth = DEPTHS[-1] if reading.first_rules else reading.depth
    splits, depth = _read(parts, classes, input_shape, depth)
    twelve = depth == DEPTHS[0] and not reading.first_rules
    notes = ("16-bit pictures have 12 significant bits: 4095 is white",) if twelve else ()
    made = make_dataset(splits["train"], splits["test"], classes, validation=splits.get("validation"))
    return made._replace(notes=notes, depth=depth)


def download(folder: Path) -> None:
    """Raise an error that says where to put the files."""
    kinds = "as .png or .jpg files, or sounds as .wav or .flac files"
    raise DataError(f"folder: these are your own pictures; put them into {folder}/<class>/ {kinds}")


def _split(folder: Path, found: Files, kind: Kind, *, evenly: bool) -> tuple[Files, Files]:
    """Split the files by the hash of their content.

    With `evenly`, a class of three different files or more that lacks training or test files gives one to that part.
    """
    everything = f"add {kind.name}, or make the folders train/ and test/ yourself"
    hashes = {path: _digest(path) for files in found.values() for path in files}
    testing = {digest for digest in hashes.values() if digest < TEST_SHARE * 2**64}
    if evenly:
        _give_every_class_both(found, hashes, testing)
    train, test = (
        {name: [path for path in files if (hashes[path] in testing) == wanted] for name, files in found.items()}
        for wanted in (False, True)
    )
    if none := [name for name, files in train.items() if not files]:
        raise DataError(f"{folder}: the split by content left nothing to train on of: {', '.join(none)}; {everything}")
    if not any(test.values()):
        raise DataError(f"{folder}: the split by content left nothing to test on; {everything}")
    return train, test


def _give_every_class_both(found: Files, hashes: dict[Path, int], testing: set[int]) -> None:
    """Move the content nearest to the threshold of every class that is in one part only; `testing` is changed."""
    classes = Counter(digest for files in found.values() for digest in {hashes[path] for path in files})
    for files in found.values():
        contents = sorted({hashes[path] for path in files})
        movable = [digest for digest in contents if classes[digest] == 1]  # what is in two classes stays
        if len(contents) < 3 or not movable:
            continue
        if testing.isdisjoint(contents):
            testing.add(movable[0])
        elif testing.issuperset(contents):
            testing.discard(movable[-1])


def _digest(path: Path) -> int:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    return int.from_bytes(digest[:8])


def _read(
    parts: dict[str, Files], classes: tuple[str, ...], shape: tuple[int, ...], depth: int | None
) -> tuple[dict[str, Split], int | None]:
    """Read the pictures of every part, and how many bits those of 16 have: the most that any has."""
    height, width = shape[:2]
    splits: dict[str, Split] = {}
    depths: list[int | None] = []
    for name, files in parts.items():
        labelled = [(path, label) for label, known in enumerate(classes) for path in files.get(known, [])]
        images = np.empty((len(labelled), height, width, 3), np.uint8)
        for image, (path, _) in zip(images, labelled, strict=True):
            image[:], found = read_with_depth(path, height, width, depth)
            depths.append(found)
        splits[name] = Split(images, np.array([label for _, label in labelled], np.int32))
    deepest = max((found for found in depths if found), default=None)
    if deepest and any(found and found != deepest for found in depths):  # rare: those that look like fewer bits
        return _read(parts, classes, shape, deepest)
    return splits, deepest


DATASETS = {
    "folder": Source(
        load, download, "your own pictures or sounds, <class>/*.jpg in --data-dir; or --dataset PATH", sized=True
    )
}
