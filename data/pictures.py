"""Reading one picture of any common format as 8-bit colour of a given size."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError, features

from data.errors import DataError

FORMATS = (
    "PNG",
    "JPEG",
    "WEBP",
    "BMP",
    "DIB",
    "TIFF",
    "GIF",
    "PPM",
    *(["AVIF"] if features.check("avif") else []),
)
FIRST = (".png", ".jpg", ".jpeg")  # the suffixes of version 0.1.0, in upper or lower case, as the others
SUFFIXES = (
    *FIRST,
    *(".jpe", ".jfif", ".jif", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif"),
    *(".ppm", ".pgm", ".pbm", ".pnm", *([".avif"] if features.check("avif") else [])),
)
KNOWN = "found no pictures (.png, .jpg, .jpeg)"
OTHERS = "nor .webp, .bmp, .tif, .gif, .ppm, .jfif"
DEPTHS = (12, 16)  # significant bits of a picture with 16 bits a pixel
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


class Picture(NamedTuple):
    """A picture that has been read."""

    pixels: np.ndarray  # (height, width, 3) uint8
    depth: int | None  # significant bits of its 16, one of DEPTHS; None for pictures of 8 bits


def read_picture(path: Path, height: int, width: int, depth: int | None = None) -> np.ndarray:
    """Read the centre of an image as (height, width, 3) uint8, resized (bilinear, antialiased).

    Args:
        path: the file.
        height, width: size to resize to.
        depth: significant bits of a 16-bit grey picture; None: 12 if no pixel is above 4095, else 16.

    Raises:
        DataError: the file is no picture, is truncated, or has more pixels than is safe to decode.
    """
    return read_with_depth(path, height, width, depth).pixels


def read_with_depth(path: Path, height: int, width: int, depth: int | None = None) -> Picture:
    """Read a picture as `read_picture` does, and say how many bits it uses."""
    with picture_warnings():
        return decode(path, None, height, width, depth)


@contextmanager
def picture_warnings() -> Iterator[None]:
    """Ignore Pillow's warnings, or make them errors; for all threads of the process."""
    with warnings.catch_warnings():
        # Pillow warns of unreadable metadata; the image is then read without it.
        warnings.simplefilter("ignore", UserWarning)
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def decode(path: Path, content: bytes | None, height: int, width: int, depth: int | None = None) -> Picture:
    """Read a picture as `read_with_depth` does, from the content of its file if that is given.

    It is called within `picture_warnings`, which threads share.
    """
    try:
        with Image.open(path if content is None else io.BytesIO(content), formats=FORMATS) as image:
            return _fit(image, height, width, depth)
    except UnidentifiedImageError:
        others = "WebP, BMP, TIFF, GIF and PPM are read, too"
        raise DataError(f"{path}: expected a PNG or JPEG picture, found something else ({others})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        most = f"{Image.MAX_IMAGE_PIXELS:,}"
        raise DataError(f"{path}: has more than {most} pixels, which may be an attack on the memory") from None
    except (OSError, SyntaxError, ValueError) as error:  # raised by Pillow for a truncated or damaged file
        raise DataError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _fit(image: Image.Image, height: int, width: int, depth: int | None) -> Picture:
    side = 2 * max(height, width)
    image.draft(None, (side, side))  # decodes a JPEG at a fraction of its size, but not below this
    tiles = getattr(image, "tile", None)
    raw = str(tiles[0][3]) if tiles else ""  # how the file stores a pixel, as "L;4": known until it is loaded
    image.load()
    turn = UPRIGHT.get(orientation(image))  # of TIFF, Pillow has removed it in turning the picture
    made, depth = _colour(image, raw, depth)
    made = made if turn is None else made.transpose(turn)
    # The largest centred box with the network's aspect ratio, in fractions of pixels.
    scale = min(made.width / width, made.height / height)
    # Rounding may give a value below 0, which Pillow refuses.
    left, top = max(0.0, (made.width - scale * width) / 2), max(0.0, (made.height - scale * height) / 2)
    box = (left, top, made.width - left, made.height - top)
    return Picture(np.asarray(made.resize((width, height), Image.Resampling.BILINEAR, box=box)), depth)


def orientation(image: Image.Image) -> int:
    """Return the orientation of the camera, 1 to 8; 1 if the EXIF data do not say it or are damaged."""
    try:
        found = image.getexif().get(ORIENTATION, 1)
    except Exception:  # whatever Pillow raises for damaged bytes: the pixels are good without
        return 1
    return found if isinstance(found, int) else 1


def _colour(image: Image.Image, raw: str, depth: int | None) -> tuple[Image.Image, int | None]:
    """Convert to RGB on a white background; return the significant bits of a 16-bit grey picture, too."""
    if image.mode == "F" or image.mode.startswith("I"):  # Pillow's own conversion would cut off everything above 255
        values, clear = np.asarray(image), image.info.get("transparency")
        grey, depth = _to_bytes(values, depth)
        if isinstance(clear, int):
            grey = np.where(values == clear, np.uint8(255), grey)
        return Image.fromarray(grey).convert("RGB"), depth
    if (clear := image.info.get("transparency")) is not None:
        image.info["transparency"] = _key_in_bytes(clear, raw)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB"), None


def _key_in_bytes(clear: Any, raw: str) -> Any:
    """Return the transparent colour of a PNG in 8 bits, as Pillow returns the pixels; the file has it in its own."""
    if raw in ("L;2", "L;4", "1") and isinstance(clear, int):
        return clear * {"L;2": 85, "L;4": 17, "1": 255}[raw]
    if "16" in raw:
        return tuple(part >> 8 for part in clear) if isinstance(clear, tuple) else clear
    return clear


def _to_bytes(values: np.ndarray, depth: int | None) -> tuple[np.ndarray, int | None]:
    """Convert the pixels of a grey picture of more than 8 bits to 8.

    Raises:
        ValueError: they are in no range that has a meaning: not 0 to 65535, nor 0 to 1 of floats.
    """
    low, high = values.min(), values.max()
    if values.dtype.kind == "f":
        if not 0 <= low <= high <= 255:  # not for NaN, either
            raise ValueError(f"its pixels are from {low:g} to {high:g}, expected 0 to 1, or 0 to 255")
        return np.round(values * (255 if high <= 1 else 1)).astype(np.uint8), None
    if not 0 <= low <= high <= 65535:
        raise ValueError(f"its pixels are from {low} to {high}, expected 0 to 65535")
    depth = depth or (DEPTHS[0] if high < 2 ** DEPTHS[0] else DEPTHS[1])
    return np.minimum(values.astype(np.int64) >> (depth - 8), 255).astype(np.uint8), depth
