"""Sound: files, datasets, the log-mel frontend, and what the commands say of it."""

import contextlib
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torchaudio
from flax import linen
from hypothesis import given
from scipy.io import wavfile
from sklearn.linear_model import RidgeClassifier
from torch import nn

import data
import jaxnets
import torchnets
from data import DataError, Split, apply_frontend, frontend, make_dataset
from data.archive import unpack
from data.base import full_scale
from data.datasets import fsdd, speech_commands, tones
from data.wav import fit_length, read_wav
from tests.audio_files import sound, wav_bytes, write_fsdd, write_speech_commands, write_wav


def message_of(error: pytest.ExceptionInfo) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


@given(samples=st.lists(st.integers(-(2**15), 2**15 - 1), min_size=1, max_size=50), rate=st.integers(1, 192_000))
def test_a_wav_file_comes_back_as_it_was_written(samples, rate, tmp_path_factory):
    path = write_wav(tmp_path_factory.mktemp("wav") / "a.wav", np.array(samples, np.int16), rate)
    found, found_rate = read_wav(path, rate)
    assert found.dtype == np.int16
    assert found.tolist() == samples
    assert found_rate == rate


@given(samples=st.lists(st.integers(-9, 9), max_size=20), length=st.integers(0, 30))
def test_a_clip_is_cut_or_padded_at_its_end(samples, length):
    fitted = fit_length(np.array(samples, np.int16), length)
    assert fitted.dtype == np.int16
    assert fitted.tolist() == (samples + [0] * length)[:length]


BAD_WAVS = {
    # name of the fault: (bytes, what must be said: found and expected)
    "empty": (b"", ["expected a PCM WAV file"]),
    "a web page": (b"<!DOCTYPE html><p>not here</p>" * 9, ["expected a PCM WAV file", "RIFF"]),
    "cut short": (wav_bytes(100)[:-51], ["promises 100 frames", "found only 74"]),
    "cut in its header": (wav_bytes(100)[:30], ["expected a PCM WAV file"]),
    "chunks beyond the end": (wav_bytes().replace(b"data", b"junk"), ["expected a PCM WAV file"]),
    "absurd header": (wav_bytes(100, promised=2**30), ["promises 1073741824 frames", "found only 100"]),
    "no frames": (wav_bytes(0), ["found no frames"]),
    "8-bit": (wav_bytes(bits=8), ["expected 16-bit", "found 8-bit"]),
    "24-bit": (wav_bytes(bits=24), ["expected 16-bit", "found 24-bit"]),
    "stereo": (wav_bytes(channels=2), ["(mono)", "found 2"]),
    "no channels": (wav_bytes(channels=0), ["expected a PCM WAV file"]),
    "other rate": (wav_bytes(rate=44100), ["expected 8000 samples a second", "found 44100"]),
    "other codec": (wav_bytes().replace(b"\x10\0\0\0\1\0", b"\x10\0\0\0\2\0"), ["expected a PCM WAV file"]),
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
        assert 0 < len(read_wav(path)[0]) <= 20


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


@pytest.fixture(scope="module")
def keys() -> data.Dataset:
    return data.load("tones")


def test_tones_are_always_the_same_and_every_key_comes_equally_often(keys):
    assert (keys.train.inputs.shape, keys.test.inputs.shape) == ((3000, 2000, 1), (600, 2000, 1))
    assert np.bincount(keys.train.labels).tolist() == [250] * 12
    assert np.bincount(keys.test.labels).tolist() == [50] * 12
    again = data.load("tones")
    assert (again.test.inputs == keys.test.inputs).all()
    # Not a hash: another machine's sine may round another way once in a while.
    assert abs(float(keys.std[0]) - 0.1091691) < 1e-5
    assert keys.test.labels[:12].tolist() == again.test.labels[:12].tolist()


def test_only_the_keys_own_two_tones_sound_together(keys):
    """Decode every clip as a telephone exchange does: the row and the column that are loudest at one moment."""
    frequencies = np.concatenate([tones.ROWS, tones.COLUMNS])
    probe = np.exp(-2j * np.pi * frequencies / keys.rate * np.arange(200)[:, None])  # 25 ms
    frames = np.lib.stride_tricks.sliding_window_view(keys.test.inputs[..., 0] / 32768, 200, axis=1)[:, ::20]
    power = np.abs((frames * np.hanning(200)) @ probe)  # (N, moments, 7)
    row, column = power[..., :4].max(axis=-1), power[..., 4:].max(axis=-1)
    moment = np.minimum(row, column).argmax(axis=1)
    best = power[np.arange(len(moment)), moment]
    found = best[:, :4].argmax(axis=1) * 3 + best[:, 4:].argmax(axis=1)
    assert (found == keys.test.labels).mean() > 0.98


@pytest.mark.parametrize("name", ["none", "logmel"])
def test_no_linear_model_tells_the_keys(keys, name):
    dataset, _ = apply_frontend(keys, name)
    for alpha in (1e1, 1e3, 1e5):
        model = RidgeClassifier(alpha=alpha)
        train, test = (
            ((split.inputs - dataset.mean) / dataset.std).reshape(len(split.labels), -1)
            / full_scale(split.inputs.dtype)
            for split in (dataset.train, dataset.test)
        )
        model.fit(train, dataset.train.labels)
        assert model.score(test, dataset.test.labels) < 0.4


def torchaudios(waveforms: np.ndarray, rate: int, n_fft: int, hop: int, n_mels: int, win_length: int) -> np.ndarray:
    dtype = torch.from_numpy(waveforms).dtype
    torch.set_default_dtype(dtype)  # its window and its filters are made in this, whatever the waveform is
    try:
        mel = torchaudio.transforms.MelSpectrogram(
                rate, n_fft=n_fft, win_length=win_length, hop_length=hop, n_mels=n_mels, power=2.0, center=True,
                pad_mode="reflect", norm=None, mel_scale="htk",
            )  # fmt: skip
        return torchaudio.transforms.AmplitudeToDB("power", top_db=80.0)(mel(torch.from_numpy(waveforms))).numpy()
    finally:
        torch.set_default_dtype(torch.float32)


@given(
    rate=st.sampled_from([8000, 16000]),
    n_fft=st.sampled_from([256, 400, 512, 1024]),
    overlap=st.sampled_from([2, 3, 4]),
    n_mels=st.sampled_from([20, 32, 40]),
    window=st.sampled_from([1.0, 0.75]),
    length=st.integers(1100, 5000),
    loudness=st.floats(-4, 0),
    seed=st.integers(0, 2**32 - 1),
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-13)])
def test_log_mel_spectrograms_are_torchaudios(
    dtype, tolerance, rate, n_fft, overlap, n_mels, window, length, loudness, seed
):
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(3, 2, length)) * 10**loudness
    noise[1] = np.sin(np.arange(length) * rng.uniform(0, 3))  # loud beside the others: each has its own floor
    waveforms = noise.astype(dtype)
    sizes = {"n_fft": n_fft, "hop": n_fft // overlap, "n_mels": n_mels, "win_length": int(window * n_fft)}
    ours = frontend.log_mel(frontend.mel_spectrogram(waveforms, rate, **sizes))
    theirs = torchaudios(waveforms, rate, **sizes)
    assert (ours.dtype, ours.shape) == (dtype, theirs.shape)
    assert np.linalg.norm(ours.astype(np.float64) - theirs) <= tolerance * np.linalg.norm(theirs)


def test_silence_has_a_finite_spectrogram_and_it_is_torchaudios():
    silence = np.zeros((2, 1, 2000), np.float32)
    silence[1, 0, 500:] = 1
    ours = frontend.log_mel(frontend.mel_spectrogram(silence, 8000, n_fft=256, hop=80, n_mels=40))
    theirs = torchaudios(silence, 8000, 256, 80, 40, 256)
    assert np.abs(ours[0] + 100).max() < 1e-4
    assert np.linalg.norm(ours - theirs) <= 1e-5 * np.linalg.norm(theirs)


def waveforms_of(count: int, length: int, channels: int = 1) -> data.Dataset:
    rng = np.random.default_rng(count)
    made = rng.integers(-9000, 9000, (count, length, channels), np.int16)
    split = Split(made, (np.arange(count) % 2).astype(np.int32))
    return make_dataset(split, split, ("a", "b"), validation=Split(made[:1], split.labels[:1]), rate=16000)


@pytest.mark.parametrize("piece", [1, 10_000, 2**21])
@pytest.mark.parametrize("channels", [1, 2])
def test_features_do_not_depend_on_the_pieces_they_are_made_in(piece, channels, monkeypatch):
    dataset = waveforms_of(7, 4000, channels)
    monkeypatch.setattr(frontend, "PIECE_SAMPLES", piece)
    features, note = apply_frontend(dataset, "logmel")
    assert features.validation
    assert features.train.inputs.shape == (7, 64, 26, channels)
    assert features.train.inputs.dtype == np.float32
    assert note == f"waveforms of 4000 samples at 16000 Hz are turned into log-mel spectrograms of 64x26x{channels}"
    assert (features.train.labels == dataset.train.labels).all()
    assert (features.validation.inputs == features.train.inputs[:1]).all()
    np.testing.assert_allclose(features.mean, features.train.inputs.mean((0, 1, 2), np.float64), rtol=1e-5)
    np.testing.assert_allclose(features.std, features.train.inputs.std((0, 1, 2), np.float64), rtol=1e-5)
    scaled = np.moveaxis(dataset.train.inputs / np.float32(32768), -1, 1)
    theirs = np.moveaxis(torchaudios(scaled, 16000, 512, 160, 64, 512), 1, -1)
    assert np.linalg.norm(features.train.inputs - theirs) <= 1e-5 * np.linalg.norm(theirs)


def test_the_frontend_says_what_it_cannot_do():
    with pytest.raises(DataError, match=r"logmel is for waveforms, found inputs \(8, 8, 1\)"):
        apply_frontend(data.load("digits"), "logmel")
    with pytest.raises(DataError, match="unknown frontend 'mfcc'"):
        apply_frontend(waveforms_of(4, 100), "mfcc")
    with pytest.raises(DataError, match="512-sample frames needs more than 256 samples, found 100"):
        apply_frontend(waveforms_of(4, 100), "logmel")
    with pytest.raises(DataError, match="of 200 mel bands are empty at 8000 Hz"):
        frontend.mel_filters(8000, 256, 200)


class TorchEar(nn.Module):
    """A small network for audio of any length, (N, C, length)."""

    def __init__(self, num_classes: int = 10):
        super().__init__()
        self.conv = nn.Conv1d(1, 8, 80, stride=16)
        self.fc = nn.Linear(8, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(torch.relu(self.conv(x)).mean(dim=-1))


class FlaxEar(linen.Module):
    """Its twin, (N, length, C)."""

    num_classes: int = 10

    @linen.compact
    def __call__(self, x, *, train: bool = False):  # noqa: ARG002 (every network takes `train`)
        x = linen.Conv(8, (80,), (16,), padding="VALID", name="conv")(x)
        return linen.Dense(self.num_classes, name="fc")(linen.relu(x).mean(axis=1))


@pytest.fixture
def ear(monkeypatch) -> None:
    """Register a network for audio, whose nominal length is no dataset's."""
    for framework, models, build in (("jaxnets", jaxnets.MODELS, FlaxEar), ("torchnets", torchnets.MODELS, TorchEar)):
        entry = models["lenet5"]._replace(build=build, input_shape=(1234, 1), num_params=738, head="fc")
        monkeypatch.setattr(f"{framework}.fit.MODELS", models | {"ear": entry})


@pytest.mark.usefixtures("ear")
@pytest.mark.parametrize(("framework", "other"), [("jaxnets", "torchnets"), ("torchnets", "jaxnets")])
def test_a_network_for_audio_trains_on_waveforms_of_any_length(framework, other, run_main, tmp_path):
    write_fsdd(tmp_path, indices=range(3, 9))
    options = ("--model", "ear", "--dataset", "fsdd", "--data-dir", ".", "--epochs", 1, "--batch-size", 4)
    code, out, err = run_main(f"{framework}.train", *options, "--out", "run")
    assert (code, err) == (0, "")
    assert "fsdd: 7 train, 1 validation, 4 test examples" in out
    assert " are " not in out  # nothing was done to them
    assert run_main(f"{other}.evaluate", "run")[0] == 0


def test_a_network_for_images_hears_through_the_frontend_and_the_run_remembers_it(run_main, tmp_path):
    write_speech_commands(tmp_path)
    options = ("--dataset", "speech_commands", "--data-dir", ".", "--epochs", 1, "--batch-size", 4)
    code, out, err = run_main("jaxnets.train", *options, "--frontend", "logmel", "--out", "run")
    assert (code, err) == (0, "")
    assert "8 train, 2 validation, 2 test examples" in out  # the official ones
    assert (
        "waveforms of 16000 samples at 16000 Hz are turned into log-mel spectrograms of 64x101x1; "
        "features of 64x101x1 are resized to 32x32x1\n" in out
    )
    assert json.loads((tmp_path / "run/config.json").read_text())["frontend"] == "logmel"
    code, again, _ = run_main("torchnets.evaluate", "run")
    assert code == 0
    assert again[again.index("┏") :].strip() in out


@pytest.mark.usefixtures("ear")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--frontend", "logmel"], "--frontend logmel is for audio; digits has images"),
        (
            ["--dataset", "tones"],
            "tones has audio, lenet5 takes images: add --frontend logmel, or choose a network for ",
        ),
        (
            ["--dataset", "tones", "--model", "ear", "--frontend", "logmel"],
            "ear takes audio as it is: leave out --fro",
        ),
        (["--model", "ear"], "ear takes audio, digits has images; choose another network, see --list-models"),
        (["--frontend", "mfcc"], "'mfcc'"),
    ],
)
def test_audio_and_images_do_not_mix_and_the_error_says_what_to_change(options, said, run_main, tmp_path):
    code, _, err = run_main("jaxnets.train", *options)
    assert code == 1
    assert err.startswith("error: ")
    assert said in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
