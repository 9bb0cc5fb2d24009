"""Log-mel spectrograms in numpy, which turn waveforms into features for a two-dimensional network.

The values equal those of torchaudio's `MelSpectrogram` (power 2, centred, reflected at the ends, HTK scale, no norm)
and `AmplitudeToDB("power", top_db=80)`; the dtype is that of the input. Sources: Stevens, Volkmann and Newman 1937
(mel); Young et al., "The HTK Book" (its formula); Davis and Mermelstein 1980 (the triangular filters).
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from data.base import DataError, Dataset, Split, full_scale, make_dataset

MELS = 64
HOP_SECONDS = 0.010
WINDOW_SECONDS = 0.025  # a minimum: rounded up to a power of two samples, for the FFT
FLOOR = 1e-10  # of the power, -100 dB: the logarithm of silence must be finite
TOP_DB = 80.0
PIECE_SAMPLES = 2**21  # samples at a time: their overlapping frames take about 60 MB


def apply_frontend(dataset: Dataset, name: str) -> tuple[Dataset, str | None]:
    """Turn a dataset of waveforms into one of features; "none" returns the dataset unchanged.

    Returns:
        Features (N, mels, frames, C) float32 in dB, with their own mean and standard deviation, and a one-line
        description of the change; None if there is none.

    Raises:
        DataError: there is no such frontend, or the dataset has no waveforms.
    """
    if name == "none":
        return dataset, None
    if name != "logmel":
        raise DataError(f"unknown frontend '{name}', expected none or logmel")
    rate, shape = dataset.rate, dataset.train.inputs.shape[1:]
    if rate is None or len(shape) != 2:
        raise DataError(f"the frontend {name} is for waveforms, found inputs {shape}")

    def change(split: Split) -> Split:
        return Split(log_mel_features(split.inputs, rate), split.labels)

    validation = change(dataset.validation) if dataset.validation else None
    train, test = change(dataset.train), change(dataset.test)
    made = "x".join(map(str, train.inputs.shape[1:]))
    note = f"waveforms of {shape[0]} samples at {rate} Hz are turned into log-mel spectrograms of {made}"
    windows = {
        part: found._replace(inputs=log_mel_features(found.inputs, rate)) for part, found in dataset.windows.items()
    }
    made_of = make_dataset(train, test, dataset.classes, validation=validation, rate=rate, windows=windows)
    return made_of._replace(notes=dataset.notes, warnings=dataset.warnings), note


def log_mel_features(waveforms: np.ndarray, rate: int) -> np.ndarray:
    """Return the features (N, mels, frames, C) float32 of waveforms (N, length, C) int16."""
    count, length, channels = waveforms.shape
    n_fft, hop = window_length(rate), round(rate * HOP_SECONDS)
    features = np.empty((count, MELS, 1 + length // hop, channels), np.float32)
    step = max(1, PIECE_SAMPLES // (length * channels))
    for start in range(0, count, step):
        piece = waveforms[start : start + step].astype(np.float32) / np.float32(full_scale(waveforms.dtype))
        power = mel_spectrogram(np.moveaxis(piece, -1, 1), rate, n_fft=n_fft, hop=hop, n_mels=MELS)
        features[start : start + step] = np.moveaxis(log_mel(power), 1, -1)
    return features


def window_length(rate: int) -> int:
    """Return the default FFT length: 256 samples (32 ms) at 8 kHz, 512 (32 ms) at 16 kHz."""
    return 2 ** int(np.ceil(np.log2(rate * WINDOW_SECONDS)))


def mel_spectrogram(
    waveforms: np.ndarray, rate: int, *, n_fft: int, hop: int, n_mels: int, win_length: int | None = None
) -> np.ndarray:
    """Return the power in each mel band over time.

    Args:
        waveforms: (..., length) float32 or float64, of any scale.
        rate: sampling rate in Hz.
        n_fft: length of a frame in samples.
        hop: samples between the starts of two frames.
        n_mels: number of bands.
        win_length: length of the Hann window, centred in the frame; default: `n_fft`.

    Returns:
        (..., n_mels, 1 + length // hop), of the same dtype.

    Raises:
        DataError: the waveforms are too short to reflect half a frame at their ends; or see `mel_filters`.
    """
    half, length = n_fft // 2, waveforms.shape[-1]
    if length <= half:
        raise DataError(f"a spectrogram of {n_fft}-sample frames needs more than {half} samples, found {length}")
    padded = np.pad(waveforms, [(0, 0)] * (waveforms.ndim - 1) + [(half, half)], mode="reflect")
    frames = sliding_window_view(padded, n_fft, axis=-1)[..., ::hop, :]  # (..., frames, n_fft), a view
    spectrum = np.fft.rfft(frames * _hann(win_length or n_fft, n_fft).astype(waveforms.dtype))
    power = np.square(spectrum.real) + np.square(spectrum.imag)  # (..., frames, n_fft // 2 + 1)
    return np.swapaxes(power @ mel_filters(rate, n_fft, n_mels).astype(waveforms.dtype), -1, -2)


def mel_filters(rate: int, n_fft: int, n_mels: int) -> np.ndarray:
    """Return overlapping triangular filters, evenly spaced on the mel scale from 0 Hz to half the rate.

    Returns:
        (n_fft // 2 + 1, n_mels) float64; each triangle is 1 at its peak.

    Raises:
        DataError: a triangle is so narrow that it contains no frequency of the transform.
    """
    top = rate // 2
    frequencies = np.linspace(0, top, n_fft // 2 + 1)
    mels = np.linspace(0, 2595 * np.log10(1 + top / 700), n_mels + 2)
    corners = 700 * (10 ** (mels / 2595) - 1)  # in Hz
    slopes = corners - frequencies[:, None]  # (n_fft // 2 + 1, n_mels + 2)
    rising = -slopes[:, :-2] / np.diff(corners)[:-1]
    falling = slopes[:, 2:] / np.diff(corners)[1:]
    filters = np.maximum(0, np.minimum(rising, falling))
    if empty := int((filters.max(axis=0) == 0).sum()):
        raise DataError(f"{empty} of {n_mels} mel bands are empty at {rate} Hz: use fewer, or frames above {n_fft}")
    return filters


def log_mel(power: np.ndarray, top_db: float | None = TOP_DB) -> np.ndarray:
    """Return power (N, C, n_mels, frames) in decibels, clipped at `top_db` below the maximum of each example."""
    decibels = 10 * np.log10(np.maximum(power, FLOOR))
    if top_db is None:
        return decibels
    return np.maximum(decibels, decibels.max(axis=(-3, -2, -1), keepdims=True) - top_db)


def _hann(length: int, n_fft: int) -> np.ndarray:
    """Return the periodic Hann window of period `length`, centred in `n_fft` samples."""
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    left = (n_fft - length) // 2
    return np.pad(window, (left, n_fft - length - left))
