"""Reading sound files of every format that libsndfile reads, as 16-bit mono of one rate, and cutting windows."""

import contextlib
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple, cast

import numpy as np
import soundfile
import soxr

from data.base import DataError, Windows
from data.sound_header import Overlaid, check_log, cut_short, mended, stated_frames, states_length

FULL = 32768.0  # what 1.0 is in 16 bits
LOUDEST = 16.0  # floats beyond this (24 dB over full scale) are on another scale
LOWEST_RATE = 100  # Hz, of what is resampled
BLOCK = 2**20  # samples of all channels that are decoded at a time: 8 MiB
SUFFIXES = (
    *(".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".mp3", ".ogg", ".oga", ".opus"),
    *(".aif", ".aiff", ".aifc", ".au", ".snd", ".caf", ".voc", ".sph", ".nist"),
)
NONE = "found no sounds (.wav, .flac, .mp3)"
OTHERS = "nor .ogg, .opus, .aiff, .au, .caf, .w64, .sph"
KNOWN = "WAV, FLAC, OGG, Opus, MP3, AIFF, AU, CAF, W64 and RF64 are read"


class Header(NamedTuple):
    """What a file says of itself."""

    frames: int  # 0 if it does not say
    rate: int
    channels: int


class _Stream(soundfile.SoundFile):
    """A sound that is read from its beginning to its end, since not every format can be searched."""

    def seekable(self) -> bool:
        return False


def read_sound(path: Path, rate: int | None = None, content: bytes | None = None) -> tuple[np.ndarray, int]:
    """Read a sound file: the mean of its channels, resampled to `rate` in Hz; None keeps its own.

    Samples are the 16-bit integers nearest to libsndfile's values, which are the file's own if it has 16 bits and one
    channel. With `content`, the bytes of the file, the file itself is not read.

    Returns:
        Samples (length,) int16, and their rate in Hz.

    Raises:
        DataError: the file is missing, no sound, empty, cut short or damaged; or it has values that are not finite.
    """
    samples, header = read_with_header(path, rate, content)
    return samples, rate or header.rate


def read_with_header(path: Path, rate: int | None = None, content: bytes | None = None) -> tuple[np.ndarray, Header]:
    """Read a sound file as `read_sound` does; return its own header, too."""
    with _opened(path, content) as (stream, header):
        wanted = rate or header.rate
        pieces = list(_resampled(_mono(path, stream, header), path, header.rate, wanted))
    if not pieces:
        raise DataError(f"{path}: expected sound, found no frames")
    samples = np.concatenate(pieces)
    if len(samples) == 0:
        raise DataError(f"{path}: expected sound, found too few frames at {header.rate} Hz for {wanted} Hz")
    return samples, header


def read_header(path: Path) -> Header:
    """Read what a file says of itself.

    Raises:
        DataError: the file is missing, no sound, or cut short.
    """
    with _opened(path) as (_, header):
        return header


def read_windows(paths: Sequence[Path], length: int, rate: int) -> tuple[np.ndarray, Windows | None]:
    """Read sound files into waveforms (N, length, 1) int16, padded with silence at the end.

    Returns:
        The waveforms, of longer files the first window, and the further windows of those; None if there are none.

    Raises:
        DataError: see `read_sound`.
    """
    clips = np.empty((len(paths), length, 1), np.int16)
    more: list[np.ndarray] = []
    for clip, path in zip(clips, paths, strict=True):
        windows = cut(read_sound(path, rate)[0], length)
        clip[:] = windows[0]
        more.append(windows[1:])
    owners = np.repeat(np.arange(len(paths)), [len(others) for others in more])
    return clips, Windows(np.concatenate(more), owners) if len(owners) else None


def cut(samples: np.ndarray, length: int) -> np.ndarray:
    """Cut samples (L,) into windows over all of them, (k, length, 1); fewer samples are padded with silence."""
    windows = np.zeros((len(starts := window_starts(len(samples), length)), length, 1), np.int16)
    for window, start in zip(windows, starts, strict=True):
        piece = samples[start : start + length]
        window[: len(piece), 0] = piece
    return windows


def window_starts(total: int, length: int) -> list[int]:
    """Return where windows of `length` begin that cover `total` samples evenly, each overlapping the next by half."""
    count = 1 + max(0, math.ceil((total - length) / (length / 2)))
    return np.linspace(0, max(0, total - length), count).round().astype(int).tolist()


@contextlib.contextmanager
def _opened(path: Path, content: bytes | None = None) -> Iterator[tuple[soundfile.SoundFile, Header]]:
    """Open a file and turn what goes wrong with it, until it is closed, into a DataError."""
    try:
        with path.open("rb") if content is None else io.BytesIO(content) as file:
            source = mended(path, file)
            file.seek(0)
            head = file.read(4096)
            file.seek(0)
            # A file is known by its number, so that its content decides and not its name.
            number = file.fileno() if source is file and content is None else None
            with _Stream(cast(BinaryIO, Overlaid(source)) if number is None else number, closefd=False) as stream:
                check_log(path, stream.extra_info)
                yield stream, _header(path, stream, head)
    except soundfile.LibsndfileError as error:
        raise DataError(f"{path}: {_why(error)}") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None


def _header(path: Path, stream: soundfile.SoundFile, head: bytes) -> Header:
    frames = max(0, stream.frames) if stream.frames < 2**62 else 0  # the largest number stands for "unknown"
    if (stated := stated_frames(head)) > frames:
        raise cut_short(path, stated, frames)
    if stream.format == "MP3" and not states_length(head):
        frames = 0
    if stream.samplerate <= 0:
        raise DataError(f"{path}: expected a rate above 0, found {stream.samplerate}")
    return Header(frames, stream.samplerate, stream.channels)


def _mono(path: Path, stream: soundfile.SoundFile, header: Header) -> Iterator[np.ndarray]:
    """Yield blocks of the mean of all channels, (L,) float64."""
    found, size = 0, max(1, min(BLOCK // header.channels, header.frames or BLOCK))  # memory of a block is touched
    while len(block := stream.read(size, dtype="float64", always_2d=True)):
        if not np.isfinite(block).all():
            at = found + int((~np.isfinite(block).all(axis=1)).argmax())
            value = block[at - found][~np.isfinite(block[at - found])][0]
            raise DataError(f"{path}: expected finite samples, found {value} in frame {at}")
        if (peak := np.abs(block).max()) > LOUDEST:
            raise DataError(f"{path}: expected samples from -1 to 1, found {peak:.6g}; divide them by full scale")
        found += len(block)
        yield block[:, 0] if header.channels == 1 else block.mean(axis=1)
    if found < header.frames:
        raise cut_short(path, header.frames, found)


def _resampled(blocks: Iterator[np.ndarray], path: Path, rate: int, wanted: int) -> Iterator[np.ndarray]:
    """Yield the blocks at another rate, as int16."""
    if rate == wanted:
        yield from map(_to_int16, blocks)
        return
    if min(rate, wanted) < LOWEST_RATE:
        raise DataError(f"{path}: its rate of {rate} Hz cannot be changed to {wanted} Hz; expected at least 100 Hz")
    stream = soxr.ResampleStream(rate, wanted, 1, dtype="float64", quality="HQ")
    empty = True
    for block in blocks:
        empty = False
        yield _to_int16(stream.resample_chunk(block))
    if not empty:
        yield _to_int16(stream.resample_chunk(np.zeros(0), last=True))


def _to_int16(samples: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(samples * FULL), -FULL, FULL - 1).astype(np.int16)


def _why(error: soundfile.LibsndfileError) -> str:
    text = error.error_string.strip().rstrip(".")
    if "not recognised" in text:
        return f"expected a sound, found something else ({KNOWN})"
    return f"cannot be read as a sound ({text}); it may be cut short or damaged"
