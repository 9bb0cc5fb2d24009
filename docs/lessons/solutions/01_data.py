"""Solutions of lesson 1."""

import numpy as np
from exercises import Exercise


def batches(inputs, labels, size, seed, epoch):
    """Yield batches in an order that depends on the seed and the epoch alone."""
    order = np.random.default_rng([seed, epoch]).permutation(len(inputs))
    for first in range(0, len(order), size):
        index = order[first : first + size]
        yield inputs[index], labels[index]


def batches_in_one_order(inputs, labels, size, seed, epoch):
    """Yield the batches of epoch 0 in every epoch: a mistake."""
    return batches(inputs, labels, size, seed, 0 * epoch)


def batches_of_one_seed(inputs, labels, size, seed, epoch):
    """Forget the seed: a mistake."""
    return batches(inputs, labels, size, 0 * seed, epoch)


def check_batches(answer):
    """Check each example's count, its label, and what the order depends on."""
    labels = np.arange(10)
    inputs = labels[:, None] * np.float32(2)
    epochs = [list(answer(inputs, labels, 4, 0, epoch)) for epoch in (0, 1, 0)]
    for epoch in epochs:
        x, y = (np.concatenate(parts) for parts in zip(*epoch, strict=True))
        assert sorted(y) == list(range(10)), f"each example must come once per epoch; the labels were {y}"
        assert (x[:, 0] == 2 * y).all(), "an input has the label of another example"
        assert [len(each) for _, each in epoch] == [4, 4, 2], "ten examples make batches of 4, 4 and 2"
    first, second, again = (np.concatenate([y for _, y in epoch]).tolist() for epoch in epochs)
    assert first != second, "two epochs have the same order: it must depend on the epoch"
    assert first == again, "the same seed and epoch must give the same order"
    other = np.concatenate([y for _, y in answer(inputs, labels, 4, 1, 0)]).tolist()
    assert first != other, "two seeds have the same order: it must depend on the seed, too"


def statistics(images):
    """Return mean and standard deviation of each channel, of pixels from 0 to 1."""
    scaled = images / 255
    return scaled.mean(axis=(0, 1, 2)), scaled.std(axis=(0, 1, 2))


def statistics_of_images(images):
    """Average the deviations of single images, which leaves out how images differ: a mistake."""
    scaled = images / 255
    return scaled.mean(axis=(0, 1, 2)), scaled.std(axis=(1, 2)).mean(axis=0)


def check_statistics(answer):
    """Check against sums that are written out."""
    images = np.random.default_rng(0).integers(0, 256, (5, 4, 3, 3), np.uint8)
    images[0] //= 4  # one image is darker
    mean, std = (np.asarray(each) for each in answer(images))
    assert mean.shape == std.shape == (3,), f"expected one number per channel, found {mean.shape} and {std.shape}"
    pixels = images.reshape(-1, 3).astype(float) / 255
    expected = pixels.sum(axis=0) / len(pixels)
    assert np.allclose(mean, expected), f"the means should be {expected}, found {mean}"
    expected = np.sqrt(((pixels - expected) ** 2).sum(axis=0) / len(pixels))
    assert np.allclose(std, expected), f"the deviations should be {expected}, over all pixels together; found {std}"


def channels_first(x):
    """Return (N, C, H, W), a view of (N, H, W, C)."""
    return np.moveaxis(x, -1, 1)


def channels_first_by_reshape(x):
    """Return the right shape with the numbers in the wrong places: a mistake."""
    n, height, width, channels = x.shape
    return x.reshape(n, channels, height, width)


def check_channels_first(answer):
    """Check one number, and that it is a view."""
    x = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3)
    found = answer(x)
    assert found.shape == (2, 3, 4, 5), f"expected shape (2, 3, 4, 5), found {found.shape}"
    assert found[1, 2, 0, 3] == x[1, 0, 3, 2], "channel 2 of the pixel at row 0, column 3 is not where it belongs"
    assert np.shares_memory(found, x), "the values are right, and a view is enough: nothing needs to be copied"


EXERCISES = [
    Exercise(batches, check_batches, batches_in_one_order, batches_of_one_seed),
    Exercise(statistics, check_statistics, statistics_of_images),
    Exercise(channels_first, check_channels_first, channels_first_by_reshape),
]
