"""Own folders of sounds: the rate and the length of their clips, and the clips of each part."""

import math
import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from data.base import DataError, Dataset, Reading, Split, Windows, make_dataset
from data.sound import LOWEST_RATE, Header, read_header, read_windows

LONGEST = 1.0  # seconds of a clip, unless an option says otherwise
SHORTEST = 2000  # samples of such a clip: enough for every network
COPIES = 3  # of all examples that are in memory at once while the validation examples are split off

Files = Mapping[str, Mapping[str, list[Path]]]  # by part and class


class Clips(NamedTuple):
    """The form of all examples."""

    rate: int  # Hz
    length: int  # samples


def read(folder: Path, parts: Files, input_shape: tuple[int, ...] | None, reading: Reading) -> Dataset:
    """Read the sounds of all parts as clips of one rate and length.

    Returns:
        Waveforms (N, length, 1), the mean of the channels, padded with silence at the end. Of longer files they are
        the first window; the others are in `Dataset.windows`.

    Raises:
        DataError: a file cannot be read, the rate is too low, or the memory is too small.
    """
    classes = tuple(parts["train"])
    listed = {
        name: [(path, label) for label, known in enumerate(classes) for path in files.get(known, [])]
        for name, files in parts.items()
    }
    headers = {name: [read_header(path) for path, _ in found] for name, found in listed.items()}
    form = choose(folder, headers, input_shape, reading)
    everything = [header for found in headers.values() for header in found]
    _check_memory(folder, everything, form)
    splits: dict[str, Split] = {}
    windows: dict[str, Windows] = {}
    for name, found in listed.items():
        clips, more = read_windows([path for path, _ in found], form.length, form.rate)
        splits[name] = Split(clips, np.array([label for _, label in found], np.int32))
        windows |= {name: more} if more else {}
    made = make_dataset(
        splits["train"],
        splits["test"],
        classes,
        validation=splits.get("validation"),
        rate=form.rate,
        windows=windows,
    )
    return made._replace(notes=(describe(everything, form),))


def choose(
    folder: Path, headers: Mapping[str, list[Header]], input_shape: tuple[int, ...] | None, reading: Reading
) -> Clips:
    """Return the rate and the length of the clips.

    The rate is the option, else that of most training files. The length is the option, else that of the longest file,
    but one second at most.
    """
    counts = Counter(header.rate for header in headers["train"])
    rate = reading.rate or max(counts, key=lambda each: (counts[each], each))
    if rate < LOWEST_RATE:
        raise DataError(f"{folder}: its sounds have a rate of {rate} Hz, expected at least {LOWEST_RATE} Hz")
    given = input_shape[0] if input_shape is not None and len(input_shape) == 2 else 0  # by a network for waveforms
    if reading.seconds is None and given:
        return Clips(rate, given)
    shortest = min(SHORTEST, given or SHORTEST)
    if not reading.seconds:
        longest = max(_length(header, rate) or rate for found in headers.values() for header in found)
        return Clips(rate, max(shortest, min(longest, round(LONGEST * rate))))
    length = max(1, round(reading.seconds * rate))
    if given and length < shortest:
        expected = f"expected at least {shortest:,} for a network that takes audio"
        raise DataError(f"--clip-seconds {reading.seconds:g}: these are {length:,} samples at {rate} Hz, {expected}")
    return Clips(rate, length)


def describe(headers: list[Header], form: Clips) -> str:
    """Return a line about the clips and what is done with other files."""
    changes = (
        ("resampled", sum(header.rate != form.rate for header in headers)),
        ("mixed to one channel", sum(header.channels > 1 for header in headers)),
        ("padded with silence", sum(0 < _length(header, form.rate) < form.length for header in headers)),
    )
    done = ", ".join(f"{count:,} {what}" for what, count in changes if count)
    length = f"sounds: clips of {form.length / form.rate:.4g} s, {form.length:,} samples at {form.rate:,} Hz"
    return f"{length}; of {len(headers):,} files {done}" if done else length


def _length(header: Header, rate: int) -> int:
    """Return the samples of a file at another rate; 0 if its header does not say."""
    return math.ceil(header.frames * rate / header.rate)


def _check_memory(folder: Path, headers: list[Header], form: Clips) -> None:
    """Refuse what cannot fit into memory, before it is read."""
    overlaps = (max(0, math.ceil(2 * (_length(header, form.rate) / form.length - 1))) for header in headers)
    needed = COPIES * 2 * form.length * sum(1 + more for more in overlaps)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > memory:
        sizes = f"need {needed / 2**30:,.1f} GiB of memory, this machine has {memory / 2**30:,.1f}"
        raise DataError(f"{folder}: its sounds at {form.rate:,} Hz {sizes}; take fewer, or a lower --sample-rate")
