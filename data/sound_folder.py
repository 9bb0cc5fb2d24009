"""Own folders of sounds: the rate and the length of their clips, and how a file becomes clips."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile
import soxr

from data.base import DataError, Reading
from data.cache import Decoded, Decoder
from data.sound import LOWEST_RATE, Header, cut, read_header, read_with_header

LONGEST = 1.0  # seconds of a clip, unless an option says otherwise
SHORTEST = 2000  # samples of such a clip: enough for every network
VERSION = 1  # of the values that sounds are read as; a change makes all caches be decoded again
NAME = "sounds at {} Hz"  # of a decoder

Parts = Mapping[str, Mapping[str, list[Path]]]  # files by part and class


def decoder(folder: Path, parts: Parts, input_shape: tuple[int, ...], reading: Reading) -> Decoder:
    """Return how the sounds of a folder are read: as clips of one rate and length, see `choose`.

    A longer file has several examples, windows over all of it.

    Raises:
        DataError: the rate is too low, the clips are too short for the network, or no header can be read.
    """
    given = input_shape[0] if len(input_shape) == 2 else 0  # by a network for waveforms
    if given and reading.seconds is None and reading.rate:
        rate, length = reading.rate, given
    else:
        rate, length = choose(folder, parts, given, reading)

    def decode(path: Path, content: bytes) -> Decoded:
        samples, header = read_with_header(path, rate, content)
        return Decoded(cut(samples, length), [header.rate, header.channels, len(samples)])

    libraries = f"libsndfile {soundfile.__libsndfile_version__}, soxr {soxr.__version__}"
    return Decoder(NAME.format(rate), f"{VERSION}, {libraries}", (length, 1), "<i2", decode)


def rate_of(found: Decoder) -> int:
    """Return the rate of a decoder in Hz."""
    return int(found.name.split()[-2])


def choose(folder: Path, parts: Parts, given: int, reading: Reading) -> tuple[int, int]:
    """Return the rate and the length of the clips.

    The rate is the option, else that of most training files. The length is the option, else that of the longest file,
    but one second at most. Without options `given` is the length.
    """
    headers = {name: _headers([path for files in found.values() for path in files]) for name, found in parts.items()}
    everything = [header for found in headers.values() for header in found]
    if not everything:
        read_header(next(path for found in parts.values() for files in found.values() for path in files))
    counts = Counter(header.rate for header in headers.get("train") or everything)
    rate = reading.rate or max(counts, key=lambda each: (counts[each], each))
    if rate < LOWEST_RATE:
        raise DataError(f"{folder}: its sounds have a rate of {rate} Hz, expected at least {LOWEST_RATE} Hz")
    if reading.seconds is None and given:
        return rate, given
    shortest = min(SHORTEST, given or SHORTEST)
    if not reading.seconds:
        longest = max(math.ceil(header.frames * rate / header.rate) or rate for header in everything)
        return rate, max(shortest, min(longest, round(LONGEST * rate)))
    length = max(1, round(reading.seconds * rate))
    if given and length < shortest:
        expected = f"expected at least {shortest:,} for a network that takes audio"
        raise DataError(f"--clip-seconds {reading.seconds:g}: these are {length:,} samples at {rate} Hz, {expected}")
    return rate, length


def describe(about: Sequence[Any], found: Decoder) -> str:
    """Return a line about the clips and what is done with files that are otherwise; `about`: of each file."""
    rate, length = rate_of(found), found.shape[0]
    files = [each for each in about if each]
    changes = (
        ("resampled", sum(own != rate for own, _, _ in files)),
        ("mixed to one channel", sum(channels > 1 for _, channels, _ in files)),
        ("padded with silence", sum(samples < length for _, _, samples in files)),
    )
    done = ", ".join(f"{count:,} {what}" for what, count in changes if count)
    form = f"sounds: clips of {length / rate:.4g} s, {length:,} samples at {rate:,} Hz"
    return f"{form}; of {len(files):,} files {done}" if done else form


def _headers(files: list[Path]) -> list[Header]:
    """Return the headers that can be read; decoding reports the other files."""
    headers = []
    for path in files:
        try:
            headers.append(read_header(path))
        except DataError:
            continue
    return headers
