"""Your own images in one folder per class: `--dataset PATH` or `--dataset folder --data-dir PATH`.

The layout is PATH/train/<class>/*.jpg and PATH/test/<class>/*.jpg, with or without PATH/val/<class>/*.jpg, or
PATH/<class>/*.jpg alone. Without a test part the hash of each file's content assigns it to the training or the test
part (about a fifth), so copies of an image are in the same part, and adding images moves none of the others.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL
from PIL import features

from data.base import CURRENT, DataError, Dataset, Reading, Source, Split, make_dataset
from data.cache import Collection, Decode, Decoded, Decoder, check_bad, decode_all
from data.layout import Files, describe, find
from data.pictures import DEPTHS, decode, picture_warnings
from data.pictures import read_picture as read_picture
from data.rows import select

TEST_SHARE = 0.2
VERSION = 1  # of the values that pictures are read as; a change makes all caches be decoded again


def load(folder: Path, input_shape: tuple[int, ...] | None = None, reading: Reading = CURRENT) -> Dataset:
    """Read every image and fit it to the input size of the network, or map what an earlier start has read.

    Args:
        folder: the folder with the classes.
        input_shape: (H, W, C); every image is cropped around its centre to this aspect ratio and resized.
        reading: by which rules, how many bits 16-bit pictures have, what to do with bad files, and where the cache is.

    Returns:
        Images (N, H, W, 3) in colour. Transparent parts become white; the EXIF orientation is applied.

    Raises:
        DataError: there are no images, the parts have different classes, or an image cannot be read.
    """
    if input_shape is None or len(input_shape) != 3:
        raise DataError(
            f"{folder} holds pictures, which need a network that takes images (H, W, C), not {input_shape}"
        )
    layout = find(folder, first_rules=reading.first_rules)
    parts, notes = dict(layout.parts), [describe(layout.unused)]
    files = [path for part in parts.values() for one in part.values() for path in one]
    depth = DEPTHS[-1] if reading.first_rules else reading.depth
    found = decode_all(folder, files, _decoder(*input_shape[:2], depth), reading.cache_dir)
    left_out = check_bad(folder, len(files), found.bad, reading.on_bad_file, reading.cache_dir)
    _leave_out(folder, parts, {files[at] for at in found.bad})
    if "test" not in parts:
        source = "train" if "train" in parts else ""
        hashes = {path: int.from_bytes(found.hashes[at][:8]) for at, path in enumerate(files)}
        parts["train"], parts["test"] = _split(folder, parts.pop(source), hashes, evenly=not reading.first_rules)
        if source:
            notes.append(f"{folder.name} has no test set: about a fifth of train/, by content, is for testing")
    classes = tuple(parts["train"])
    splits = _as_splits(parts, classes, files, found)
    deepest = max((depth for depth in found.about if depth), default=None)
    if deepest == DEPTHS[0]:
        notes.append("16-bit pictures have 12 significant bits: 4095 is white")
    notes.append(found.note)
    made = make_dataset(splits["train"], splits["test"], classes, validation=splits.get("validation"))
    shown = () if reading.first_rules else tuple(note for note in notes if note)
    return made._replace(notes=shown, depth=deepest, warnings=(left_out,) if left_out else ())


def download(folder: Path) -> None:
    """Raise an error that says where to put the images."""
    raise DataError(f"folder: these are your own pictures; put them into {folder}/<class>/ as .png or .jpg files")


def _split(folder: Path, found: Files, hashes: dict[Path, int], *, evenly: bool) -> tuple[Files, Files]:
    """Split the files by the hash of their content.

    With `evenly`, a class of three different files or more that lacks training or test files gives one to that part.
    """
    everything = "add pictures, or make the folders train/ and test/ yourself"
    testing = {hashes[path] for files in found.values() for path in files if hashes[path] < TEST_SHARE * 2**64}
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


def _decoder(height: int, width: int, depth: int | None) -> Decoder:
    """Return how pictures are read; those of 16 bits are read alike, with as many bits as any of them has."""

    def with_depth(path: Path, content: bytes, depth: int | None) -> Decoded:
        pixels, found = decode(path, content, height, width, depth)
        return Decoded(pixels[None], found)

    def again(depths: Sequence[int | None]) -> tuple[list[int], Decode] | None:
        deepest = max((found for found in depths if found), default=None)
        others = [at for at, found in enumerate(depths) if found and found != deepest]  # that look like fewer bits
        return (others, lambda path, content: with_depth(path, content, deepest)) if others else None

    libraries = f"Pillow {PIL.__version__}, libjpeg {features.version('jpg')}"
    return Decoder(
        "pictures" if depth is None else f"pictures of {depth} bits",
        f"{VERSION}, {libraries}",
        (height, width, 3),
        "|u1",
        lambda path, content: with_depth(path, content, depth),
        again,
        picture_warnings,
    )


def _leave_out(folder: Path, parts: dict[str, Files], bad: set[Path]) -> None:
    """Remove bad files from the parts.

    Raises:
        DataError: then there are none of a class to train on, or none at all of another part.
    """
    if not bad:
        return
    for name, found in parts.items():
        parts[name] = left = {label: [path for path in files if path not in bad] for label, files in found.items()}
        empty = [label for label, files in left.items() if not files]
        if (empty and name in ("train", "")) or not any(left.values()):
            raise DataError(f"{folder}: no picture that can be read is left of {', '.join(empty)}")


def _as_splits(
    parts: dict[str, Files], classes: tuple[str, ...], files: list[Path], found: Collection
) -> dict[str, Split]:
    numbers = dict(zip(files, found.starts.tolist(), strict=True))
    splits = {}
    for name, part in parts.items():
        labelled = [(numbers[path], label) for label, known in enumerate(classes) for path in part.get(known, [])]
        rows, labels = np.array(labelled, np.int64).reshape(-1, 2).T
        splits[name] = Split(select(found.base, rows), labels.astype(np.int32))
    return splits


DATASETS = {
    "folder": Source(load, download, "your own pictures, <class>/*.jpg in --data-dir; or --dataset PATH", sized=True)
}
