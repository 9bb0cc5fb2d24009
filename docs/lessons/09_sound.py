# %% [markdown]
# # 9. Sound in one dimension
#
# **You will be able to** say what a waveform is and what its rate allows; compute how long it is after each layer;
# read a convolution as a filter and see which frequencies it lets through; turn a sound into a picture; and read M5, a
# network for waveforms, in both frameworks.
#
# **You need** lessons [5](05_convolutions.py) and [7](07_vgg_alexnet.py). No signal processing.
#
# ## A waveform
#
# A microphone measures the pressure of the air, thousands of times a second. These numbers are a **waveform**; how
# many there are in a second is its **rate**. `tones`, which comes with the project, has the keys of a telephone. Each
# key is two pure tones at once, one for its row and one for its column; two more bursts of single tones are put in to
# make it harder.

# %%
import jax
import numpy as np

import jaxnets.models.m5
import torchnets.models.m5
from data import load

tones = load("tones")
RATE = tones.rate or 8000  # Hz
clip, label = tones.train.inputs[1], tones.train.labels[1]
print(tones.train.inputs.shape, tones.train.inputs.dtype, f"at {RATE} Hz")
print(f"a clip is {len(clip) / RATE} s long; this one is the key {tones.classes[label]}")

# %% [markdown]
# The axes are example, time and channel: (N, length, C), *channels last*, as for images but with one axis less.
# PyTorch has (N, C, length). A stereo recording has two channels.
#
# ## What a rate allows
#
# Between two samples, anything may happen. A tone that swings more than once in two samples cannot be told from a
# slower one: at rate $R$ there are frequencies up to $R/2$ and no others. If you keep every fourth sample only, and
# that is what a stride of 4 does, a tone of 1,800 Hz turns up at 200 Hz:

# %%
time = np.arange(800) / RATE


def strongest(wave, rate):
    """Return the frequency that is strongest in a wave."""
    return np.fft.rfftfreq(len(wave), 1 / rate)[np.abs(np.fft.rfft(wave)).argmax()]


wave = np.sin(2 * np.pi * 1800 * time)
print("1,800 Hz:", strongest(wave, RATE), "Hz; every fourth sample:", strongest(wave[::4], RATE / 4), "Hz")

# %% [markdown]
# This is **aliasing**. It does not mean that a strided convolution is wrong. It sees all samples; only its outputs are
# fewer. What it passes on at high frequencies is folded down, and the network can learn which filter avoids that.
#
# ## A convolution is a filter
#
# In one dimension, a convolution slides a row of numbers along the wave and multiplies. If the row looks like a tone,
# then it answers to this tone and to no other: it is a **filter**. How strongly it answers to each frequency is the
# absolute value of its Fourier transform, its **frequency response**.
#
# M5 (Dai et al., 2016) is made of such filters. Its first kernel has 80 samples, 10 ms at 8,000 Hz, in which a tone of
# 100 Hz swings once. In the layers after it the kernel has 3. That is the whole network:

# %% tags=["remove-input"]
from show import picture, side_by_side, solutions

side_by_side(jaxnets.models.m5.MNet, torchnets.models.m5.MNet)

# %% [markdown]
# - `conv(1, ...)` is a convolution in one dimension. Flax's `nn.Conv` takes the number of dimensions from the kernel,
#   `(80,)`; PyTorch has a class for each, `Conv1d` and `Conv2d`.
# - The padding of 38 is written out. A kernel of 80 is even, so there is no padding that keeps the middle in the
#   middle, and `"SAME"` puts one zero more at the end (traps 4 and 5).
# - The last pool is the mean over time. So the network takes clips of any length, and the number of weights does not
#   depend on it.
#
# ## How long is what is left?
#
# A layer of kernel $k$, stride $s$ and padding $p$ makes of $L$ samples
#
# $$ \left\lfloor \frac{L + 2p - k}{s} \right\rfloor + 1 . $$

# %%
from jaxnets.model_summary import summarize

entry = jaxnets.MODELS["m5"]
for layer in summarize(entry._replace(input_shape=(2000, 1))):
    if layer.name.startswith("conv"):
        print(f"{layer.name:8}{layer.shape[0]:5} positions x {layer.shape[1]} channels{layer.parameters:9,} weights")

# %% [markdown]
# The padding of 38 makes it exactly a quarter: 2,000 samples become 500. Then a pool of 4 follows each convolution.
# After all four, a position stands for $4^5 = 1{,}024$ samples, an eighth of a second.
#
# ## Watching filters learn
#
# Which filters does a network make for itself? Here is a task whose answer is known. Six notes, each a pure tone at a
# random phase and loudness, in noise. The network has M5's first two convolutions, with few channels.

# %%
from data import from_arrays
from jaxnets.models.m5 import M5, MNet

NOTES = (262, 392, 587, 880, 1319, 1976)  # Hz
rng = np.random.default_rng(0)
labels = np.arange(720, dtype=np.int32) % len(NOTES)
phase, loudness = rng.uniform(0, 2 * np.pi, (720, 1)), rng.uniform(0.1, 0.4, (720, 1))
waves = loudness * np.sin(2 * np.pi * np.asarray(NOTES)[labels][:, None] * time + phase)
waves += rng.normal(scale=0.1, size=waves.shape)
notes = from_arrays((32767 * np.clip(waves, -1, 1)).astype(np.int16)[..., None], labels)
model = MNet(rows=M5[:2], width=4, num_classes=len(NOTES))
result = jaxnets.fit(model, notes, epochs=8, batch_size=32, lr=0.01, seed=0)
print("accuracy on the test clips:", result.scores["test"].accuracy)
assert result.scores["test"].accuracy > 0.9

# %% tags=["remove-input"]
from matplotlib.figure import Figure

kernel = np.asarray(result.variables["params"]["conv_0"]["kernel"])[:, 0]  # (80, 8)
initial = np.asarray(model.init(jax.random.key(1), waves[:1, :, None])["params"]["conv_0"]["kernel"])[:, 0]
hertz = np.fft.rfftfreq(800, 1 / RATE)
figure = Figure(figsize=(7.5, 3), layout="constrained")
for axes, one, title in zip(figure.subplots(1, 2, sharey=True), (initial, kernel), ("random", "trained"), strict=True):
    response = np.abs(np.fft.rfft(one, 800, axis=0))
    axes.plot(hertz, response, linewidth=1)
    for note in NOTES:
        axes.axvline(note, color="0.7", linewidth=0.8, linestyle=":", zorder=0)
    axes.set(title=f"first convolution, {title}", xlabel="frequency, Hz", xlim=(0, 2500))
figure.axes[0].set_ylabel("response")
picture(
    figure, "Frequency responses of eight filters, before training without a pattern, after it with peaks at notes"
)

# %% [markdown]
# Each line is one filter, and the dotted lines are the six notes. Nobody told the network about Fourier. The
# random filters answer to everything a little; the trained ones stand out at the notes.
#
# ## A sound as a picture
#
# The other way is to do the Fourier transform beforehand. Cut the wave into short overlapping frames, take the
# strength of each frequency in each frame, sum it in bands that are as wide as the ear's (*mel*), and take the
# logarithm. The **log-mel spectrogram** is a picture, time by frequency, and any network for images takes it.

# %%
from data.frontend import log_mel_features

features = log_mel_features(clip[None], RATE)
print(clip.shape, "->", features.shape[1:], "bands, frames, channel")

# %% tags=["remove-input"]
figure = Figure(figsize=(7.5, 3), layout="constrained")
left, right = figure.subplots(1, 2)
left.plot(np.arange(len(clip)) / RATE, clip[:, 0] / 32768, linewidth=0.4)
left.set(xlabel="time, s", ylabel="pressure", title=f"waveform, key {tones.classes[label]}")
image = right.imshow(features[0, :, :, 0], origin="lower", aspect="auto", extent=(0, 0.25, 0, 64), cmap="cividis")
right.set(xlabel="time, s", ylabel="mel band", title="log-mel spectrogram")
figure.colorbar(image, label="dB")
picture(
    figure,
    "The waveform of a clip with three bursts, and its spectrogram: one burst has two bright bands, two have one",
)

# %% [markdown]
# Now the three bursts can be told apart by eye: one has two bands, that is the key. The project's numbers are those of
# torchaudio's `MelSpectrogram`:

# %%
import torch
import torchaudio

x = torch.from_numpy(clip[:, 0] / np.float32(32768))
mel = torchaudio.transforms.MelSpectrogram(RATE, n_fft=256, hop_length=80, n_mels=64)(x)
reference = torchaudio.transforms.AmplitudeToDB("power", top_db=80)(mel).numpy()
print(f"largest difference: {abs(features[0, :, :, 0] - reference).max():.1e} dB")
assert abs(features[0, :, :, 0] - reference).max() < 0.01

# %% [markdown]
# ## Parity

# %%
import parity

torch.manual_seed(0)
options = {"rows": M5[:2], "width": 4}
inputs = np.random.default_rng(0).normal(size=(4, 400, 1))
report = parity.check(torchnets.models.m5.MNet(**options), MNet(**options), inputs)
for line in report.results:
    print(f"{line.check:22}{line.error:9.1e}  bound {line.bound:.0e}")
assert report.ok

# %% [markdown]
# `python -m jaxnets.train --model m5 --dataset tones` trains the whole network, and `--frontend logmel` makes
# spectrograms for `lenet5`. [Sounds](../sounds.md) is about your own recordings.
#
# ## Exercises
#
# `from exercises import check`, then `check(9, 1, my_function)`.
#
# 1. **Length.** Write `length_after(length, layers)` for a list of (kernel, stride, padding).
# 2. **Where does it turn up?** Write `alias(frequency, rate)`: the frequency, from 0 to rate / 2, at which a tone is
#    found that was sampled at `rate`.
# 3. **Tuned to what?** Write `tuned_to(kernel, rate)` for a kernel (samples, filters): the frequency to which each
#    filter answers most, to 10 Hz or better. A kernel of 80 samples has 41 frequencies only, 100 Hz apart: pad it.

# %% tags=["remove-input"]
solutions("09_sound")

# %% [markdown]
# Next: [transfer learning](10_transfer_learning.py), or what to do with few examples.
