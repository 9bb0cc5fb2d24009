"""Sound files of every format that libsndfile reads: their values, their lengths, and what is wrong with them."""

import contextlib
import io
import struct
import tracemalloc
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given

from data import DataError
from data import sound as reader
from data.sound import cut, read_sound
from tests.audio_files import wav_bytes

# Without RAW, which has no header, and SD2, which is a file of a Macintosh with two forks.
FORMATS = sorted(
    (name, subtype)
    for name in soundfile.available_formats()
    if name not in ("RAW", "SD2")
    for subtype in soundfile.available_subtypes(name)
)


class Unseekable(soundfile.SoundFile):
    def seekable(self) -> bool:  # libsndfile reads some codecs from beginning to end only
        return False


def write(path: Path, kind: str, subtype: str, samples: np.ndarray, rate: int = 8000) -> Path | None:
    """Write a file; None if libsndfile does not write this format, or not of so many channels."""
    try:
        soundfile.write(path, samples, rate, format=kind, subtype=subtype)
    except soundfile.LibsndfileError:
        return None
    return path


def by_libsndfile(path: Path) -> np.ndarray:
    """The mean of the channels in 16 bits, by libsndfile."""
    with Unseekable(path) as file:
        found = file.read(10**6, dtype="float64", always_2d=True).mean(axis=1)
    return np.clip(np.rint(found * 32768), -32768, 32767)


def tone(length: int = 3000, channels: int = 1) -> np.ndarray:
    phases = np.arange(length)[:, None] * (0.05 + 0.03 * np.arange(channels))
    return 0.8 * np.sin(phases)


def message(path: Path, rate: int | None = None) -> str:
    with pytest.raises(DataError) as error:
        read_sound(path, rate)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value)


def test_every_format_has_the_values_of_libsndfile(tmp_path):
    read = []
    for kind, subtype in FORMATS:
        for channels in (1, 2):
            path = write(tmp_path / f"{kind}-{subtype}-{channels}", kind, subtype, tone(channels=channels))
            if path and len(expected := by_libsndfile(path)):  # of some that it writes it finds no samples
                samples, rate = read_sound(path)
                assert (len(samples), rate) == (len(expected), soundfile.info(path).samplerate), path
                assert (samples == expected).all(), path
                assert (read_sound(path, None, path.read_bytes())[0] == samples).all()
                read.append((kind, subtype))
    usual = {"PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW", "IMA_ADPCM", "GSM610"}
    assert {("WAV", subtype) for subtype in usual} <= set(read)
    assert {("WAVEX", "PCM_24"), ("RF64", "FLOAT"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS")} <= set(
        read
    )
    assert {("MP3", "MPEG_LAYER_III"), ("AIFF", "PCM_16"), ("W64", "PCM_16"), ("CAF", "ALAC_16")} <= set(read)


@given(
    kind=st.sampled_from(
        [("WAV", "PCM_16"), ("WAV", "DOUBLE"), ("FLAC", "PCM_24"), ("AIFF", "PCM_S8"), ("AU", "ULAW")]
    ),
    channels=st.integers(1, 4),
    length=st.integers(10, 400),
    rates=st.tuples(st.sampled_from([8000, 11025, 44100, 48000]), st.sampled_from([8000, 16000, 22050])),
    block=st.integers(1, 500),
)
def test_channels_are_averaged_and_other_rates_resampled_in_blocks(
    kind, channels, length, rates, block, tmp_path_factory
):
    samples = np.random.default_rng(length).uniform(-0.9, 0.9, (length, channels))
    path = tmp_path_factory.mktemp("sound") / "a.mp3"  # whatever its name is
    assert write(path, kind[0], kind[1], samples, rates[0])
    whole = soundfile.read(path, always_2d=True)[0].mean(axis=1)
    expected = soxr.resample(whole, *rates) if rates[0] != rates[1] else whole
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader, "BLOCK", block)
        found, rate = read_sound(path, rates[1])
    assert (rate, len(found)) == (rates[1], len(expected))
    assert np.abs(found - 32768 * expected.clip(-1, 32767 / 32768)).max() <= 1


def test_what_is_read_of_16_bits_and_one_channel_is_in_the_file(tmp_path):
    samples = np.arange(-(2**15), 2**15).astype(np.int16)
    for kind in ("WAV", "FLAC", "AIFF", "RF64"):
        soundfile.write(tmp_path / kind, samples, 16000, format=kind, subtype="PCM_16")
        assert (read_sound(tmp_path / kind)[0] == samples).all()


def streamed(kind: str, *changes: tuple[bytes, int, bytes]) -> bytes:
    """A file of 3,000 samples in which, `at` bytes behind a mark, some are changed as in what is sent into a pipe."""
    made = io.BytesIO()
    soundfile.write(made, tone(), 8000, format=kind, subtype="PCM_16")
    content = bytearray(made.getvalue())
    for mark, at, new in changes:
        place = content.index(mark) + at
        content[place : place + len(new)] = new
    return bytes(content)


def wav(riff: int, body: int) -> bytes:
    return streamed("WAV", (b"RIFF", 4, struct.pack("<I", riff)), (b"data", 4, struct.pack("<I", body)))


LARGEST = b"\xff" * 8
STREAMED = {
    **{f"WAV {riff:x} {body:x}": wav(riff, body) for riff in (0, 36, 6036, 2**32 - 1) for body in (0, 2**32 - 1)},
    "WAV of sox": wav(0x7FFFF024, 0x7FFFF000),
    "RF64 of nothing": streamed("RF64", (b"ds64", 8, bytes(24))),
    "RF64 of everything": streamed("RF64", (b"ds64", 8, LARGEST * 3)),
    "AU 0": streamed("AU", (b".snd", 8, bytes(4))),
    "AU -1": streamed("AU", (b".snd", 8, LARGEST[:4])),
    "AIFF 0": streamed("AIFF", (b"FORM", 4, bytes(4)), (b"SSND", 4, bytes(4)), (b"COMM", 10, bytes(4))),
    "CAF -1": streamed("CAF", (b"data\0\0\0\0", 4, LARGEST)),
}


@pytest.mark.parametrize("name", STREAMED)
def test_a_streamed_header_is_read_to_the_end_of_the_file(name, tmp_path):
    (tmp_path / "a").write_bytes(STREAMED[name])
    expected = np.rint(tone()[:, 0] * 32768)
    found = read_sound(tmp_path / "a")[0]
    assert len(found) == 3000
    assert np.abs(found - expected).max() <= 1


def test_a_streamed_flac_is_read_to_its_end(tmp_path):
    content = bytearray(streamed("FLAC"))
    about = int.from_bytes(content[18:26])  # the lower 36 bits are the number of samples
    content[18:26] = (about >> 36 << 36).to_bytes(8)
    (tmp_path / "a.flac").write_bytes(content)
    assert (read_sound(tmp_path / "a.flac")[0] == np.rint(tone()[:, 0] * 32767)).mean() > 0.4
    assert len(read_sound(tmp_path / "a.flac")[0]) == 3000


@pytest.mark.parametrize(
    ("rate", "channels", "mode"), [(16000, 1, "VARIABLE"), (44100, 2, "CONSTANT"), (8000, 1, "VARIABLE")]
)
def test_an_mp3_that_does_not_state_its_length_is_read_to_its_end(rate, channels, mode, tmp_path):
    path = tmp_path / "a.mp3"
    samples = np.random.default_rng(0).normal(0, 0.1, (3 * rate, channels))
    samples[rate : 2 * rate] = 0  # which takes few bits, so that their number per second says little
    soundfile.write(path, samples, rate, format="MP3", bitrate_mode=mode)
    content, whole = path.read_bytes(), read_sound(path)[0]
    assert len(whole) == 3 * rate
    tag = max(content.find(mark, 0, 100) for mark in (b"Xing", b"Info"))
    path.write_bytes(content[:tag] + bytes(4) + content[tag + 4 :])
    found = read_sound(path)[0]
    assert 3 * rate < len(found) < 3 * rate + 3000  # with the silence that the header says is to be left out
    assert (read_sound(path, None, path.read_bytes())[0] == found).all()
    late = next(at for at in range(1, 3000) if np.abs(found[at : at + 999].astype(int) - whole[:999]).max() < 3)
    assert np.abs(found[late : late + len(whole)].astype(int) - whole).max() < 3
    path.write_bytes(b"ID3\3\0\0\0\0\0\x0a" + bytes(10) + path.read_bytes() + b"TAG" + bytes(125))
    assert (read_sound(path)[0] == found).all()


KINDS = [("WAV", "PCM_24"), ("RF64", "PCM_16"), ("W64", "ALAW"), ("CAF", "PCM_16"), ("AIFF", "FLOAT"), ("AU", "ULAW")]


@given(
    kind=st.sampled_from([*KINDS, ("FLAC", "PCM_16"), ("OGG", "VORBIS")]),
    changes=st.lists(st.tuples(st.integers(0, 120), st.integers(0, 255)), max_size=4),
    cut=st.integers(0, 900),
    given_content=st.booleans(),
)
def test_a_garbled_file_is_an_error_or_sound_but_nothing_else(kind, changes, cut, given_content, tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "a.wav"
    assert write(path, kind[0], kind[1], tone(400))
    content = bytearray(path.read_bytes())
    for at, value in changes:
        content[at] = value
    path.write_bytes(content[: len(content) - cut])
    with contextlib.suppress(DataError):
        assert len(read_sound(path, None, path.read_bytes() if given_content else None)[0]) > 0


def test_a_header_of_no_samples_is_not_a_streamed_one(tmp_path):
    (tmp_path / "a.wav").write_bytes(wav_bytes(0) + b"LIST\x04\0\0\0INFO")
    assert "found no frames" in message(tmp_path / "a.wav")


def test_a_file_that_is_cut_short_is_refused_in_every_usual_format(tmp_path):
    said = []
    for kind in ("AIFF", "AU", "CAF", "FLAC", "MP3", "NIST", "OGG", "RF64", "SVX", "W64", "WAV", "WAVEX"):
        for subtype in soundfile.available_subtypes(kind):
            path = write(tmp_path / f"{kind}-{subtype}", kind, subtype, tone(9000))
            if path and path.stat().st_size > 2000 and len(by_libsndfile(path)):
                path.write_bytes(path.read_bytes()[:-1000])
                text = message(path)
                assert any(words in text for words in ("promises", "cut short")), text
                said.append(kind)
    assert len(set(said)) == 12
    assert len(said) > 60


def test_values_that_are_no_sound_are_refused(tmp_path):
    for value in (np.nan, np.inf, -np.inf):
        samples = tone()
        samples[1234] = value
        soundfile.write(tmp_path / "a.wav", samples, 8000, subtype="FLOAT")
        assert f"expected finite samples, found {value} in frame 1234" in message(tmp_path / "a.wav")
    soundfile.write(tmp_path / "a.wav", tone() * 32767, 8000, subtype="DOUBLE")
    assert "expected samples from -1 to 1, found 26213" in message(tmp_path / "a.wav")
    soundfile.write(tmp_path / "a.wav", np.full(50, 1.2), 8000, subtype="FLOAT")
    assert (read_sound(tmp_path / "a.wav")[0] == 32767).all()  # what is a little too loud is clipped, as by a player


def test_what_is_no_file_of_sound_is_refused(tmp_path):
    assert "No such file" in message(tmp_path / "gone.wav")
    assert "Is a directory" in message(tmp_path)
    (tmp_path / "a.raw").write_bytes(bytes(4000))
    assert "expected a sound, found something else" in message(tmp_path / "a.raw")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    assert "cannot be read as a sound" in message(tmp_path / "a.wav") or "something else" in message(
        tmp_path / "a.wav"
    )
    (tmp_path / "slow.wav").write_bytes(wav_bytes(100, rate=1))
    assert "its rate of 1 Hz cannot be changed to 8000 Hz" in message(tmp_path / "slow.wav", 8000)


def test_a_long_recording_is_decoded_in_little_memory(tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, np.zeros(40 * 192_000, np.int16), 192_000, subtype="PCM_U8")
    tracemalloc.start()
    try:
        windows = cut(read_sound(path, 8000)[0], 8000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert windows.shape == (79, 8000, 1)
    assert peak < 30 * 2**20  # as float64 the whole recording is 59 MiB
