"""Reading 16-bit mono WAV files with the standard library.

Format: IBM and Microsoft 1991, "Multimedia Programming Interface and Data Specifications 1.0", the RIFF WAVE form.
"""

import math
import wave
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from data.base import DataError, Windows

BYTES = 2  # per sample


def read_wav(path: Path, rate: int | None = None) -> tuple[np.ndarray, int]:
    """Read a 16-bit mono PCM WAV file.

    Args:
        path: the file.
        rate: required sampling rate in Hz; None accepts any.

    Returns:
        Samples (length,) int16, and their rate in Hz.

    Raises:
        DataError: the file is missing, not such a WAV file, of another rate, empty, or shorter than its header states.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file, wave.open(file) as reader:
            header = reader.getparams()
            _check(path, header, size, rate)
            content = reader.readframes(header.nframes)
    except (wave.Error, EOFError, RuntimeError) as error:  # RuntimeError: a chunk extends beyond the file
        raise DataError(f"{path}: expected a PCM WAV file, found something else ({_why(error)})") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(content) != header.nframes * BYTES:
        raise _cut_short(path, header.nframes, len(content) // BYTES)
    return np.frombuffer(content, "<i2").astype(np.int16), header.framerate


def fit_length(samples: np.ndarray, length: int) -> np.ndarray:
    """Truncate samples (L,) to (length,), or pad them with silence at the end."""
    return np.pad(samples[:length], (0, max(0, length - len(samples))))


def read_windows(paths: Sequence[Path], length: int, rate: int) -> tuple[np.ndarray, Windows | None]:
    """Read WAV files of one rate into waveforms (N, length, 1) int16, padded with silence at the end.

    Returns:
        The waveforms, of longer files the first window, and the further windows of those; None if there are none.

    Raises:
        DataError: see `read_wav`.
    """
    clips = np.zeros((len(paths), length, 1), np.int16)
    more: list[np.ndarray] = []
    owners: list[int] = []
    for at, path in enumerate(paths):
        samples = read_wav(path, rate)[0]
        clips[at, :, 0] = fit_length(samples, length)
        starts = window_starts(len(samples), length)[1:]
        more += [samples[start : start + length, None] for start in starts]
        owners += [at] * len(starts)
    return clips, Windows(np.stack(more), np.array(owners)) if more else None


def window_starts(total: int, length: int) -> list[int]:
    """Return where windows of `length` begin that cover `total` samples evenly, each overlapping the next by half."""
    count = 1 + max(0, math.ceil((total - length) / (length / 2)))
    return np.linspace(0, max(0, total - length), count).round().astype(int).tolist()


def _check(path: Path, header: "wave._wave_params", size: int, rate: int | None) -> None:
    """Check a header before memory is allocated according to it."""
    if header.sampwidth != BYTES:
        raise DataError(f"{path}: expected 16-bit samples, found {8 * header.sampwidth}-bit")
    if header.nchannels != 1:
        raise DataError(f"{path}: expected one channel (mono), found {header.nchannels}")
    if header.framerate <= 0 or (rate and header.framerate != rate):
        expected = f"{rate} samples a second" if rate else "a rate above 0"
        raise DataError(f"{path}: expected {expected}, found {header.framerate}")
    if header.nframes == 0:
        raise DataError(f"{path}: expected sound, found no frames")
    if header.nframes * BYTES > size:
        # The size includes the header, so this is only an upper bound of what the file can hold.
        raise _cut_short(path, header.nframes, _frames_left(path, size))


def _frames_left(path: Path, size: int) -> int:
    """Count the frames after the header of the "data" chunk, for the error message."""
    with path.open("rb") as file:
        start = file.read(4096).find(b"data")
    return max(0, size - (start + 8)) // BYTES


def _cut_short(path: Path, promised: int, found: int) -> DataError:
    return DataError(f"{path}: its header promises {promised} frames, found only {found}; fetch the file again")


def _why(error: Exception) -> str:
    return str(error) or "its header ends too soon"
