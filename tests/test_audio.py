"""Sound: WAV files, the datasets made of them, and the archives that they come in."""

import contextlib
import hashlib
import io
import tarfile
from collections.abc import Mapping

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from scipy.io import wavfile

import data
from data import DataError
from data.archive import unpack
from data.datasets import fsdd, speech_commands
from data.sound import cut, read_sound
from tests.audio_files import sound, wav_bytes, write_fsdd, write_speech_commands, write_wav


def message_of(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@given(samples=st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=50), rate=st.integers(1, 192_000))
def test_a_wav_file_comes_back_as_it_was_written(samples, rate, tmp_path_factory):
    path = write_wav(tmp_path_factory.mktemp("wav") / "a.wav", np.array(samples, np.int16), rate)
    found, found_rate = read_sound(path, rate)
    assert found.dtype == np.int16
    assert found.tolist() == samples
    assert found_rate == rate


@given(samples=st.lists(st.integers(-9, 9), min_size=1, max_size=20), length=st.integers(1, 30))
def test_a_clip_is_cut_or_padded_at_its_end(samples, length, tmp_path_factory):
    path = write_wav(tmp_path_factory.mktemp("wav") / "a.wav", np.array(samples, np.int16))
    windows = cut(read_sound(path)[0], length)
    assert windows.dtype == np.int16
    assert windows[0, :, 0].tolist() == (samples + [0] * length)[:length]
    assert (cut(read_sound(path, 8000, path.read_bytes())[0], length) == windows).all()


BAD_WAVS = {
    # name of the fault: (bytes, what must be said: found and expected)
    "empty": (b"", ["expected a sound", "found an empty file"]),
    "a web page": (b"<!DOCTYPE html><p>not here</p>" * 9, ["expected a sound, found something else", "WAV, FLAC"]),
    "cut short": (wav_bytes(100)[:-51], ["promises 100 frames", "found only 74"]),
    "cut in its header": (wav_bytes(100)[:30], ["cannot be read as a sound"]),
    "a chunk beyond the end": (
        wav_bytes().replace(b"data", b"junk").replace(b"RIFF\xec\0", b"RIFF\x30\0"),
        ["cannot be read as a sound"],
    ),
    "no data": (wav_bytes().replace(b"data", b"junk"), ["cannot be read as a sound"]),
    "absurd header": (wav_bytes(100, promised=2**30), ["promises 1073741824 frames", "found only 100"]),
    "no frames": (wav_bytes(0), ["found no frames"]),
    "no channels": (wav_bytes(channels=0), ["cannot be read as a sound", "Channel count is zero"]),
    "a rate of 1 Hz": (wav_bytes(rate=1), ["rate of 1 Hz", "to 8000 Hz", "at least 100 Hz"]),
    "a rate of 0": (wav_bytes(rate=0), ["cannot be read as a sound"]),
    "a codec without its sound": (
        wav_bytes().replace(b"\x10\0\0\0\1\0", b"\x10\0\0\0\2\0"),
        ["cannot be read as a sound"],
    ),
}


@pytest.mark.parametrize("fault", BAD_WAVS)
def test_a_bad_wav_file_is_named_with_what_was_found_and_expected(tmp_path, fault):
    content, said = BAD_WAVS[fault]
    path = write_fsdd(tmp_path) / "7_ada_5.wav"
    path.write_bytes(content)
    with pytest.raises(DataError) as error:
        data.load("fsdd", tmp_path)
    for words in (str(path), *said):
        assert words in message_of(error)


@given(at=st.integers(0, 43), value=st.integers(0, 255), cut=st.integers(0, 60))
def test_a_garbled_wav_header_is_an_error_or_sound_but_nothing_else(at, value, cut, tmp_path_factory):
    content = bytearray(wav_bytes(20))
    content[at] = value
    path = tmp_path_factory.mktemp("wav") / "a.wav"
    path.write_bytes(content[: len(content) - cut])
    with contextlib.suppress(DataError):
        assert 0 < len(read_sound(path)[0]) <= 5 * 40  # the tightest codec has 160 samples in 33 bytes


def test_fsdd_keeps_its_official_split_and_one_second_of_each(tmp_path):
    write_fsdd(tmp_path)
    dataset = data.load("fsdd", tmp_path)
    assert dataset.rate == 8000
    assert dataset.classes == tuple("0123456789")
    assert (dataset.train.inputs.shape, dataset.test.inputs.shape) == ((4, 8000, 1), (4, 8000, 1))
    assert dataset.test.labels.tolist() == dataset.train.labels.tolist() == [3, 3, 7, 7]
    assert (dataset.test.inputs[0, :3000, 0] == sound(300, 3000)).all()
    assert (dataset.test.inputs[0, 3000:] == 0).all()
    assert (dataset.train.inputs[2, :, 0] == sound(749, 9000)[:8000]).all()  # the names are sorted as text


def test_fsdd_may_lie_as_githubs_archive_unpacks_but_only_once(tmp_path):
    folder = write_fsdd(tmp_path).parent
    folder.rename(folder.with_name(f"{folder.name}-1.0.10"))
    assert len(data.load("fsdd", tmp_path).train.labels) == 4
    write_fsdd(tmp_path)
    with pytest.raises(
        DataError, match=r"fsdd: found .*/recordings and .*-1\.0\.10/recordings; move away all but one"
    ):
        data.load("fsdd", tmp_path)


def test_fsdd_says_what_is_missing_or_does_not_belong(tmp_path):
    with pytest.raises(
        DataError, match=rf"{tmp_path}/free-spoken-digit-dataset/recordings nor .*git clone .*{tmp_path}"
    ):
        data.load("fsdd", tmp_path)
    with pytest.raises(DataError, match=rf"published SHA-256.*git clone .*{tmp_path}/free-spoken-digit-dataset$"):
        fsdd.download(tmp_path)
    folder = write_fsdd(tmp_path, indices=(7,))
    with pytest.raises(DataError, match="found no test recordings"):
        data.load("fsdd", tmp_path)
    (folder / ".hidden").write_text("")
    (folder / "seven_ada_0.wav").write_text("")
    with pytest.raises(DataError, match=r"seven_ada_0\.wav: expected a name like"):
        data.load("fsdd", tmp_path)


def test_the_real_fsdd_is_complete_and_what_another_reader_reads(real_data):
    dataset = data.load("fsdd", real_data)
    assert np.bincount(dataset.train.labels).tolist() == [270] * 10
    assert np.bincount(dataset.test.labels).tolist() == [30] * 10
    rate, samples = wavfile.read(real_data / "free-spoken-digit-dataset/recordings/0_george_0.wav")
    assert rate == dataset.rate
    assert (dataset.test.inputs[0, : len(samples), 0] == samples).all()


def test_speech_commands_follows_its_lists(tmp_path):
    write_speech_commands(tmp_path)
    dataset = data.load("speech_commands", tmp_path)
    assert dataset.validation
    assert (dataset.classes, dataset.rate) == (("no", "yes"), 16000)
    assert [len(split.labels) for split in (dataset.train, dataset.validation, dataset.test)] == [8, 2, 2]
    assert dataset.validation.labels.tolist() == dataset.test.labels.tolist() == [0, 1]
    assert (dataset.validation.inputs[1, :, 0] == sound(5 + 3, 17500)[:16000]).all()
    assert (dataset.train.inputs[0, :15000, 0] == sound(2, 15000)).all()
    assert (dataset.train.inputs[0, 15000:] == 0).all()


def test_speech_commands_says_what_is_missing_or_does_not_belong(tmp_path):
    with pytest.raises(DataError, match=rf"{tmp_path}/SpeechCommands.*python -m data download speech_commands"):
        data.load("speech_commands", tmp_path)
    folder = write_speech_commands(tmp_path)
    lists = folder / "testing_list.txt"
    content = lists.read_text()
    lists.write_text(content + "yes/ffffffff_nohash_0.wav\nup/00000000_nohash_0.wav\n")
    with pytest.raises(
        DataError, match=r"testing_list\.txt: names up/00000000_nohash_0\.wav and 1 more, but there is"
    ):
        data.load("speech_commands", tmp_path)
    lists.write_text((folder / "validation_list.txt").read_text())
    with pytest.raises(DataError, match=r"both lists name no/00000005_nohash_0\.wav"):
        data.load("speech_commands", tmp_path)
    lists.unlink()
    with pytest.raises(DataError, match=r"testing_list\.txt: cannot be read .*no official split"):
        data.load("speech_commands", tmp_path)
    (folder / "yess").mkdir()
    with pytest.raises(DataError, match="none of the 35 words: yess"):
        data.load("speech_commands", tmp_path)


def archive_of(members: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, content in members.items():
            member = content if isinstance(content, tarfile.TarInfo) else tarfile.TarInfo(name)
            member.size = len(content) if isinstance(content, bytes) else 0
            tar.addfile(member, io.BytesIO(content) if isinstance(content, bytes) else None)
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


def test_speech_commands_are_unpacked_from_their_archive(tmp_path, monkeypatch):
    made = write_speech_commands(tmp_path / "made")
    files = {f"./{path.relative_to(made)}": path.read_bytes() for path in sorted(made.rglob("*.*"))}
    content = archive_of(files | {"./.DS_Store": b"junk", "./yes/.hidden.wav": b"junk"})
    root = tmp_path / "data"
    root.mkdir()
    archive = root / "speech_commands_v0.02.tar.gz"
    archive.write_bytes(content)  # as if fetched before: what has the right hash is not fetched again
    monkeypatch.setattr(speech_commands, "SHA256", hashlib.sha256(content).hexdigest())
    speech_commands.download(root)
    assert len(data.load("speech_commands", root).train.labels) == 8
    unpacked = root / speech_commands.FOLDER
    assert {f"./{path.relative_to(unpacked)}" for path in unpacked.rglob("*.*")} == files.keys()
    assert not archive.exists()
    speech_commands.download(root)  # is there: nothing to do


BAD_ARCHIVES = {
    "a link": ({"a": b"x", "b": special("b", tarfile.SYMTYPE, "/etc/passwd")}, "'b' is neither a file nor a folder"),
    "a hard link": ({"b": special("b", tarfile.LNKTYPE, "../x")}, "'b' is neither a file nor a folder"),
    "a device": ({"b": special("b", tarfile.CHRTYPE)}, "'b' is neither a file nor a folder"),
    "an absolute name": ({"/tmp/b": b"x"}, "the name '/tmp/b' leads out"),
    "a way out": ({"a/../../b": b"x"}, r"the name 'a/\.\./\.\./b' leads out"),
    "too much": ({"a": b"x" * 60, "b": b"x" * 41}, "more than the 100 bytes"),
    "nothing wanted": ({"c": b"x"}, r"expected files named a\|b, found none"),
    "the same name twice": ({"a": b"x", "./a": b"y"}, "cannot be unpacked .*FileExistsError"),
}


@pytest.mark.parametrize("fault", BAD_ARCHIVES)
def test_a_bad_archive_leaves_nothing_behind(tmp_path, fault):
    members, said = BAD_ARCHIVES[fault]
    archive = tmp_path / "x.tar.gz"
    archive.write_bytes(archive_of(members))
    with pytest.raises(DataError, match=rf"^{archive}: .*{said}") as error:
        unpack(archive, tmp_path / "new", wanted="a|b", max_bytes=100)
    message_of(error)
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.6, 0.99])
def test_an_archive_cut_short_leaves_nothing_behind(tmp_path, kept):
    archive, rng = tmp_path / "x.tar.gz", np.random.default_rng(0)
    content = archive_of({"a": rng.bytes(500), "b": rng.bytes(500)})
    archive.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match="cannot be unpacked"):
        unpack(archive, tmp_path / "new", wanted="a|b", max_bytes=1000)
    assert list(tmp_path.iterdir()) == [archive]
