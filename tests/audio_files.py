"""Small datasets of sound, in the layouts of the real ones, and the ways in which a WAV file can be bad."""

import struct
import wave
from collections.abc import Iterable
from pathlib import Path

import numpy as np


def write_wav(path: Path, samples: np.ndarray, rate: int = 8000, channels: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(samples.dtype.itemsize)
        file.setframerate(rate)
        file.writeframes(samples.tobytes())
    return path


def wav_bytes(frames: int = 100, *, bits: int = 16, channels: int = 1, rate: int = 8000, promised: int = 0) -> bytes:
    """A WAV file's bytes, of which the header may promise more frames than there are."""
    width = channels * bits // 8
    body, size = bytes(width * frames), width * (promised or frames)
    header = struct.pack("<HHIIHH", 1, channels, rate, rate * width, width, bits)
    chunks = b"WAVEfmt " + struct.pack("<I", 16) + header + b"data" + struct.pack("<I", size % 2**32) + body
    return b"RIFF" + struct.pack("<I", (size + 36) % 2**32) + chunks


def sound(seed: int, length: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-3000, 3000, length, np.int16)


def write_fsdd(root: Path, indices: Iterable[int] = (0, 4, 5, 49), lengths: Iterable[int] = (3000, 9000)) -> Path:
    """Two digits of one speaker: one shorter than a second, one longer."""
    folder = root / "free-spoken-digit-dataset" / "recordings"
    for digit, length in zip((3, 7), lengths, strict=True):
        for index in indices:
            write_wav(folder / f"{digit}_ada_{index}.wav", sound(100 * digit + index, length))
    return folder


def write_speech_commands(root: Path, words: Iterable[str] = ("yes", "no")) -> Path:
    """Six recordings of each word: the last for validation, the one before for testing."""
    folder, validation, test = root / "SpeechCommands" / "speech_commands_v0.02", [], []
    for word in words:
        names = [f"{word}/{number:08x}_nohash_0.wav" for number in range(6)]
        for number, name in enumerate(names):
            write_wav(folder / name, sound(number + len(word), 15000 + 500 * number), 16000)
        validation.append(names[-1])
        test.append(names[-2])
    write_wav(folder / "_background_noise_" / "tap.wav", sound(0, 40000), 16000)
    (folder / "validation_list.txt").write_text("\n".join(validation) + "\n")
    (folder / "testing_list.txt").write_text("\n".join(test) + "\n")
    return folder
