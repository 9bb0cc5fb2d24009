"""Tones, the embedded default for audio: 3,600 synthetic clips of the twelve telephone keys.

A key is the sum of the tones of its row and its column. Source of the frequencies and of their tolerance of 1.5%:
ITU-T Recommendations Q.23 and Q.24.

A clip of a quarter of a second has three bursts in random order: the key and two decoys, which are the single tones of
another row and of another column. Knowing which tones occur is therefore not enough: only those of the key sound
together. Measured accuracy on the test clips (chance: 8%): linear models of the waveform 11%, of the log-mel
spectrogram 26%; a network of four 1D convolutions with 25,420 parameters 100% after 15 epochs.
"""

from pathlib import Path

import numpy as np

from data.base import Dataset, Source, Split, make_dataset

RATE = 8000  # Hz
LENGTH = 2000  # samples: 0.25 s
ROWS = np.array([697.0, 770.0, 852.0, 941.0])  # Hz
COLUMNS = np.array([1209.0, 1336.0, 1477.0])
KEYS = tuple("123456789*0#")  # row by row
SIZES = {"train": 3000, "test": 600}
SHORTEST, LONGEST = 400, 600  # samples of a burst: 50 to 75 ms; Q.24 requires receivers to detect 40
RAMP = 16  # samples from silence to full level, to avoid clicks
DEVIATION = 0.015  # relative deviation of a frequency that the standard allows
PIECE = 500  # clips synthesized at a time


def load(data_dir: Path) -> Dataset:  # noqa: ARG001 (all datasets have this signature)
    """Synthesize the clips; they are always the same.

    Returns:
        Waveforms (N, 2000, 1), every key equally often; 3,000 for training and 600 for testing.
    """
    rng = np.random.default_rng(0)
    train, test = (_make_split(rng, count) for count in SIZES.values())
    return make_dataset(train, test, KEYS, rate=RATE)


def _make_split(rng: np.random.Generator, count: int) -> Split:
    labels = rng.permutation(np.arange(count, dtype=np.int32) % len(KEYS))
    pieces = [_make_clips(rng, labels[start : start + PIECE]) for start in range(0, count, PIECE)]
    return Split(np.concatenate(pieces), labels)


def _make_clips(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Synthesize clips (N, length, 1) of the keys `labels` (N,)."""
    count = len(labels)
    row, column = np.divmod(labels, len(COLUMNS))
    other_row = (row + rng.integers(1, len(ROWS), count)) % len(ROWS)
    other_column = (column + rng.integers(1, len(COLUMNS), count)) % len(COLUMNS)
    bursts = _place(rng, count)  # of the key, of the single row tone, of the single column tone
    clips = np.zeros((count, LENGTH + LONGEST))  # with space for the silent end of a short burst
    for frequencies, index, (start, length) in (
        (ROWS, row, bursts[0]),
        (COLUMNS, column, bursts[0]),
        (ROWS, other_row, bursts[1]),
        (COLUMNS, other_column, bursts[2]),
    ):
        level = _amplitude(rng.uniform(-4, 4, count))  # up to 8 dB between the two tones of a key ("twist")
        at = start[:, None] + np.arange(LONGEST)
        clips[np.arange(count)[:, None], at] += level * _burst(rng, frequencies[index], length)
    clips = _amplitude(rng.uniform(-24, -12, count)) * clips[:, :LENGTH]  # of full scale
    clips += _amplitude(rng.uniform(-50, -32, count)) * rng.standard_normal(clips.shape)
    return np.round(32767 * np.clip(clips, -1, 1)).astype(np.int16)[..., None]


def _place(rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw start and length in samples of three bursts per clip in random order, (3, 2, N), without overlap."""
    lengths = rng.integers(SHORTEST, LONGEST + 1, (count, 3))
    slack = LENGTH - lengths.sum(axis=1, keepdims=True)  # at least 200 samples
    silence = np.sort(rng.random((count, 3)), axis=1) * slack  # total silence before each burst
    starts = silence.astype(int) + np.cumsum(lengths, axis=1) - lengths
    order = np.argsort(rng.random((count, 3)), axis=1)
    return np.stack([np.take_along_axis(each, order, axis=1) for each in (starts, lengths)]).transpose(2, 0, 1)


def _burst(rng: np.random.Generator, frequencies: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Synthesize slightly detuned tones (N, LONGEST) of frequencies (N,) in Hz that end after lengths (N,)."""
    time = np.arange(LONGEST)
    off = 1 + rng.uniform(-DEVIATION, DEVIATION, len(frequencies))
    phase = rng.uniform(0, 2 * np.pi, len(frequencies))
    wave = np.sin(2 * np.pi / RATE * (frequencies * off)[:, None] * time + phase[:, None])
    return wave * np.clip((np.minimum(time, lengths[:, None] - 1 - time) + 1) / RAMP, 0, 1)


def _amplitude(decibels: np.ndarray) -> np.ndarray:
    return 10 ** (decibels[:, None] / 20)


DATASETS = {"tones": Source(load, None, "3,000 + 600 telephone keys, 0.25 s at 8 kHz, embedded (made; ITU-T Q.23)")}
