"""Your own images or sounds in one folder per class: `--dataset PATH` or `--dataset folder --data-dir PATH`.

The layout is PATH/train/<class>/*.jpg and PATH/test/<class>/*.jpg, with or without PATH/val/<class>/*.jpg, or
PATH/<class>/*.jpg alone. Without a test part the hash of each file's content assigns it to the training or the test
part (about a fifth), so copies of an image are in the same part, and adding images moves none of the others. Sounds
likewise.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL
from PIL import features

from data import sound_folder
from data.base import CURRENT, DataError, Dataset, Reading, Source, Split, Windows, make_dataset
from data.cache import Collection, Decode, Decoded, Decoder, check_bad, decode_all
from data.layout import PICTURES, SOUNDS, Files, Kind, Layout, describe, find, find_either
from data.pictures import DEPTHS, decode, picture_warnings
from data.pictures import read_picture as read_picture
from data.rows import select

TEST_SHARE = 0.2
VERSION = 1  # of the values that pictures are read as; a change makes all caches be decoded again


def load(folder: Path, input_shape: tuple[int, ...] | None = None, reading: Reading = CURRENT) -> Dataset:
    """Read every picture or sound, fitted to the inputs of the network, or map what an earlier start has read.

    Args:
        folder: the folder with the classes.
        input_shape: (H, W, C); every image is cropped around its centre to this aspect ratio and resized. For sounds
            (length, 1), the samples of a clip; see `Reading.seconds`.
        reading: by which rules, how many bits 16-bit pictures have, what to do with bad files, where the cache is, and
            the rate and the length of clips.

    Returns:
        Images (N, H, W, 3) in colour. Transparent parts become white; the EXIF orientation is applied. Of
        sounds waveforms (N, length, 1), the mean of the channels, padded with silence at the end; of longer files they
        are the first window, and the others are in `Dataset.windows`.

    Raises:
        DataError: there are no files, the parts have different classes, or a file cannot be read.
    """
    layout = _find(folder, input_shape, reading)
    parts, notes = dict(layout.parts), [describe(layout.unused)]
    if layout.kind is PICTURES and (input_shape is None or len(input_shape) != 3):
        raise DataError(
            f"{folder} holds pictures, which need a network that takes images (H, W, C), not {input_shape}"
        )
    files = [path for part in parts.values() for one in part.values() for path in one]
    decoder = _decoder_of(folder, layout, input_shape or (), reading)
    found = decode_all(folder, files, decoder, reading.cache_dir)
    left_out = check_bad(folder, len(files), found.bad, reading.on_bad_file, reading.cache_dir)
    _leave_out(folder, parts, {files[at] for at in found.bad}, layout.kind)
    if "test" not in parts:
        source = "train" if "train" in parts else ""
        hashes = {path: int.from_bytes(found.hashes[at][:8]) for at, path in enumerate(files)}
        evenly = not reading.first_rules
        parts["train"], parts["test"] = _split(folder, parts.pop(source), hashes, layout.kind, evenly=evenly)
        if source:
            notes.append(f"{folder.name} has no test set: about a fifth of train/, by content, is for testing")
    classes = tuple(parts["train"])
    splits, windows = _as_splits(parts, classes, files, found)
    rate = depth = None
    if layout.kind is SOUNDS:
        rate = sound_folder.rate_of(decoder)
        notes.append(sound_folder.describe(found.about, decoder))
    elif (depth := max((depth for depth in found.about if depth), default=None)) == DEPTHS[0]:
        notes.append("16-bit pictures have 12 significant bits: 4095 is white")
    notes.append(found.note)
    made = make_dataset(
        splits["train"], splits["test"], classes, validation=splits.get("validation"), rate=rate, windows=windows
    )
    shown = () if reading.first_rules else tuple(note for note in notes if note)
    return made._replace(notes=shown, depth=depth, warnings=(left_out,) if left_out else ())


def _find(folder: Path, input_shape: tuple[int, ...] | None, reading: Reading) -> Layout:
    """Find pictures or sounds: those that the network takes, and if there are none the others."""
    if reading.first_rules:
        return find(folder, first_rules=True)
    sounds = reading.sounds or (input_shape is not None and len(input_shape) == 2)
    return find_either(folder, (SOUNDS, PICTURES) if sounds else (PICTURES, SOUNDS))


def _decoder_of(folder: Path, layout: Layout, input_shape: tuple[int, ...], reading: Reading) -> Decoder:
    """Return how the files of a folder are read."""
    if layout.kind is SOUNDS:
        return sound_folder.decoder(folder, layout.parts, input_shape, reading)
    height, width, _ = input_shape
    return _decoder(height, width, DEPTHS[-1] if reading.first_rules else reading.depth)


def download(folder: Path) -> None:
    """Raise an error that says where to put the files."""
    kinds = "as .png or .jpg files, or sounds as .wav or .flac files"
    raise DataError(f"folder: these are your own pictures; put them into {folder}/<class>/ {kinds}")


def _split(folder: Path, found: Files, hashes: dict[Path, int], kind: Kind, *, evenly: bool) -> tuple[Files, Files]:
    """Split the files by the hash of their content.

    With `evenly`, a class of three different files or more that lacks training or test files gives one to that part.
    """
    everything = f"add {kind.name}, or make the folders train/ and test/ yourself"
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


def _leave_out(folder: Path, parts: dict[str, Files], bad: set[Path], kind: Kind) -> None:
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
            raise DataError(f"{folder}: no {kind.name[:-1]} that can be read is left of {', '.join(empty)}")


def _as_splits(
    parts: dict[str, Files], classes: tuple[str, ...], files: list[Path], found: Collection
) -> tuple[dict[str, Split], dict[str, Windows]]:
    """Return the first example of each file, and the further ones, which only long sounds have."""
    numbers = {path: at for at, path in enumerate(files)}
    splits, windows = {}, {}
    for name, part in parts.items():
        labelled = [(numbers[path], label) for label, known in enumerate(classes) for path in part.get(known, [])]
        chosen, labels = np.array(labelled, np.int64).reshape(-1, 2).T
        starts, more = found.starts[chosen], found.counts[chosen] - 1
        splits[name] = Split(select(found.base, starts), labels.astype(np.int32))
        if more.any():
            owners = np.repeat(np.arange(len(chosen)), more)
            within = np.arange(len(owners)) - np.repeat(np.cumsum(more) - more, more)
            windows[name] = Windows(select(found.base, starts[owners] + 1 + within), owners)
    return splits, windows


DATASETS = {
    "folder": Source(
        load, download, "your own pictures or sounds, <class>/*.jpg in --data-dir; or --dataset PATH", sized=True
    )
}
