"""The embedded tones, the log-mel frontend, and audio in the commands."""

import json

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
import torchaudio
from flax import linen
from hypothesis import given
from sklearn.linear_model import RidgeClassifier
from torch import nn

import data
import jaxnets
import torchnets
from data import DataError, Split, apply_frontend, frontend, make_dataset
from data.base import full_scale
from data.datasets import tones
from tests.audio_files import write_fsdd, write_speech_commands


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
        monkeypatch.setattr(f"{framework}.loop.MODELS", models | {"ear": entry})


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
