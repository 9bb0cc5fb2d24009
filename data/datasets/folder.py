"""Your own images in one folder per class: `--dataset PATH` or `--dataset folder --data-dir PATH`.

The layout is PATH/train/<class>/*.jpg and PATH/test/<class>/*.jpg, or PATH/<class>/*.jpg alone. In the latter case the
hash of each file's content assigns it to the training or the test part (about a fifth), so copies of an image are in
the same part, and adding images moves none of the others.
"""

import hashlib
import warnings
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from data.base import DataError, Dataset, Source, Split, make_dataset

SUFFIXES = (".png", ".jpg", ".jpeg")  # in upper or lower case
TEST_SHARE = 0.2
ORIENTATION = 0x0112  # EXIF tag: the orientation of the camera
UPRIGHT = {  # the transposition that undoes it; 1 is upright already
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

Files = dict[str, list[Path]]  # the image files of each class


def load(folder: Path, input_shape: tuple[int, ...] | None = None) -> Dataset:
    """Read every image and fit it to the input size of the network.

    Args:
        folder: the folder with the classes.
        input_shape: (H, W, C); every image is cropped around its centre to this aspect ratio and resized.

    Returns:
        Images (N, H, W, 3) in colour. Transparent parts become white; the EXIF orientation is applied.

    Raises:
        DataError: there are no images, train/ and test/ have different classes, or an image cannot be read.
    """
    if input_shape is None or len(input_shape) != 3:
        raise DataError(
            f"{folder} holds pictures, which need a network that takes images (H, W, C), not {input_shape}"
        )
    train, test = _find(folder)
    classes = tuple(train)
    height, width, _ = input_shape
    return make_dataset(_read(train, classes, height, width), _read(test, classes, height, width), classes)


def download(folder: Path) -> None:
    """Raise an error that says where to put the images."""
    raise DataError(f"folder: these are your own pictures; put them into {folder}/<class>/ as .png or .jpg files")


def read_picture(path: Path, height: int, width: int) -> np.ndarray:
    """Read the centre of an image as (height, width, 3) uint8, resized (bilinear, antialiased).

    Raises:
        DataError: the file is no PNG or JPEG, is truncated, or has more pixels than is safe to decode.
    """
    try:
        with warnings.catch_warnings():
            # Pillow warns of unreadable metadata; the image is then read without it.
            warnings.simplefilter("ignore", UserWarning)
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                return _fit(image, height, width)
    except UnidentifiedImageError:
        raise DataError(f"{path}: expected a PNG or JPEG picture, found something else") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise DataError(f"{path}: has more than {most} pixels, which may be an attack on the memory") from None
    except (OSError, SyntaxError, ValueError) as error:  # raised by Pillow for a truncated or damaged file
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _fit(image: Image.Image, height: int, width: int) -> np.ndarray:
    side = 2 * max(height, width)
    image.draft(None, (side, side))  # decodes a JPEG at a fraction of its size, but not below this
    turn = UPRIGHT.get(image.getexif().get(ORIENTATION, 1))
    image = _colour(image if turn is None else image.transpose(turn))
    # The largest centred box with the network's aspect ratio, in fractions of pixels.
    scale = min(image.width / width, image.height / height)
    # Rounding may give a value below 0, which Pillow refuses.
    left, top = max(0.0, (image.width - scale * width) / 2), max(0.0, (image.height - scale * height) / 2)
    box = (left, top, image.width - left, image.height - top)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR, box=box))


def _colour(image: Image.Image) -> Image.Image:
    """Convert to RGB on a white background; 16-bit grey keeps its upper 8 bits."""
    if image.mode.startswith("I"):  # Pillow's own conversion would cut off everything above 255
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _find(folder: Path) -> tuple[Files, Files]:
    """Return the files for training and for testing; the classes of the first include those of the second."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; it should hold a folder of pictures for each class")
    parts = [folder / name for name in ("train", "test")]
    if not any(part.is_dir() for part in parts):
        return _split(folder, _classes(folder, f"{parts[0]}, {parts[1]} and {folder}/<class>/"))
    for part in parts:
        if not part.is_dir():
            raise DataError(f"{folder}: found one of train/ and test/, expected both or neither; {part} is missing")
    train, test = (_classes(part, f"{part}/<class>/") for part in parts)
    if extra := sorted(test.keys() - train.keys()):
        raise DataError(f"{parts[1]}: found classes that {parts[0]} has not: {', '.join(extra)}")
    return train, test


def _classes(folder: Path, looked: str) -> Files:
    """Return the image files of every class folder, sorted; `looked` describes the folder in messages."""
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    found = {path.name: _pictures(path) for path in folders}
    if not any(found.values()):
        raise DataError(f"found no pictures ({', '.join(SUFFIXES)}) in {looked}; expected a folder for each class")
    if empty := [name for name, files in found.items() if not files]:
        raise DataError(f"{folder}: found no pictures ({', '.join(SUFFIXES)}) of {', '.join(empty)}")
    if len(found) < 2 and folder.name != "test":
        raise DataError(f"{folder}: found only the class {', '.join(found)}; expected at least two, a folder for each")
    return found


def _pictures(folder: Path) -> list[Path]:
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted(path for path in files if not path.name.startswith("."))


def _split(folder: Path, found: Files) -> tuple[Files, Files]:
    """Split the files by the hash of their content."""
    train: Files = {name: [] for name in found}
    test: Files = {name: [] for name in found}
    for name, files in found.items():
        for path in files:
            (test if _is_for_testing(path) else train)[name].append(path)
    everything = "add pictures, or make the folders train/ and test/ yourself"
    if none := [name for name, files in train.items() if not files]:
        raise DataError(f"{folder}: the split by content left nothing to train on of: {', '.join(none)}; {everything}")
    if not any(test.values()):
        raise DataError(f"{folder}: the split by content left nothing to test on; {everything}")
    return train, test


def _is_for_testing(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").digest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    return int.from_bytes(digest[:8]) < TEST_SHARE * 2**64


def _read(files: Files, classes: tuple[str, ...], height: int, width: int) -> Split:
    labelled = [(path, label) for label, name in enumerate(classes) for path in files.get(name, [])]
    images = np.empty((len(labelled), height, width, 3), np.uint8)
    for image, (path, _) in zip(images, labelled, strict=True):
        image[:] = read_picture(path, height, width)
    return Split(images, np.array([label for _, label in labelled], np.int32))


DATASETS = {
    "folder": Source(load, download, "your own pictures, <class>/*.jpg in --data-dir; or --dataset PATH", sized=True)
}
