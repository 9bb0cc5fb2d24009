"""Solutions of lesson 9."""

import numpy as np
from exercises import Exercise


def length_after(length, layers):
    """Return the number of positions after layers of (kernel, stride, padding)."""
    for kernel, stride, padding in layers:
        length = (length + 2 * padding - kernel) // stride + 1
    return length


def divided_by_strides(length, layers):
    """Divide by the strides alone: a mistake, unless the padding fits."""
    for _, stride, _ in layers:
        length //= stride
    return length


def check_length_after(answer):
    """Check single layers and M5."""
    assert answer(10, [(3, 1, 1)]) == 10, "kernel 3 and padding 1 keep the length"
    assert answer(10, [(3, 1, 0)]) == 8, "kernel 3 without padding takes a position from each end"
    assert answer(2000, [(80, 4, 38)]) == 500, "M5's first convolution makes 500 positions of 2,000 samples"
    m5 = [(80, 4, 38), (4, 4, 0), *[(3, 1, 1), (4, 4, 0)] * 3]
    assert answer(8000, m5) == 7, f"a second of 8,000 samples is 7 positions after M5, found {answer(8000, m5)}"


def alias(frequency, rate):
    """Return the frequency at which a sampled tone is found."""
    rest = frequency % rate
    return min(rest, rate - rest)


def not_folded(frequency, rate):
    """Take the remainder alone: a mistake above half of the rate."""
    return frequency % rate


def check_alias(answer):
    """Sample tones and look where they are."""
    for frequency, rate in ((300, 2000), (1800, 2000), (2300, 2000), (7000, 8000), (9100, 2000)):
        wave = np.cos(2 * np.pi * frequency * np.arange(rate) / rate)
        expected = np.abs(np.fft.rfft(wave)).argmax()
        found = answer(frequency, rate)
        assert found == expected, f"{frequency} Hz at {rate} samples a second is found at {expected} Hz, not {found}"


def tuned_to(kernel, rate):
    """Return the frequency to which each filter of a kernel (samples, filters) answers most."""
    size = 2 * rate // 10  # steps of 5 Hz
    response = np.abs(np.fft.rfft(kernel, size, axis=0))
    return np.fft.rfftfreq(size, 1 / rate)[response.argmax(axis=0)]


def without_padding(kernel, rate):
    """Look at the kernel's own frequencies, rate / samples apart: a mistake."""
    return np.fft.rfftfreq(len(kernel), 1 / rate)[np.abs(np.fft.rfft(kernel, axis=0)).argmax(axis=0)]


def check_tuned_to(answer):
    """Check filters that are tones in a window."""
    wanted = np.array([650.0, 1010.0, 2340.0])
    kernel = np.hanning(80)[:, None] * np.sin(2 * np.pi * wanted * np.arange(80)[:, None] / 8000)
    found = np.asarray(answer(kernel, 8000))
    assert found.shape == (3,), f"expected one frequency per filter, found shape {found.shape}"
    assert np.allclose(found, wanted, atol=10), f"the filters are tuned to {wanted} Hz, found {found}"


EXERCISES = [
    Exercise(length_after, check_length_after, divided_by_strides),
    Exercise(alias, check_alias, not_folded),
    Exercise(tuned_to, check_tuned_to, without_padding),
]
