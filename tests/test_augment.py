"""What happens to training examples at random: by whom it is decided, and that all array libraries do the same."""

from functools import partial

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from hypothesis import given
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.functional import resized_crop

from data import AUGMENTATIONS, Loader, Split
from data.augment import AREA, RATIO, augment, draw, random_box
from tests.test_data import numbered

SHAPES = {"images": (20, 24, 3), "waveforms": (400, 1), "features": (24, 17, 1)}
EXACT = {
    "altflip",
    "crop",
    "cutout",
    "flip",
    "nudge",
    "shift",
    "specaugment",
}  # values are moved or replaced, never computed
FILL = np.array([0.4, 0.5, 0.6], np.float32)


def examples(name: str, count: int = 8) -> np.ndarray:
    return np.random.default_rng(0).random((count, *SHAPES[AUGMENTATIONS[name].kind]), np.float32)


def changed(name: str, x: np.ndarray, draws: np.ndarray) -> np.ndarray:
    return augment(x, draws.astype(np.float32), (name,), FILL[: x.shape[-1]])


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_numpy_jax_and_torch_do_the_same(name):
    x, draws = examples(name), draw((name,), 8, seed=1, epoch=2)
    before, fill = x.copy(), FILL[: x.shape[-1]]
    ours = augment(x, draws, (name,), fill)
    in_jax = jax.jit(partial(augment, names=(name,), xp=jnp))(x, draws, fill=fill)
    in_torch = augment(torch.from_numpy(x), torch.from_numpy(draws), (name,), torch.from_numpy(fill), torch)
    assert ours.shape == x.shape
    assert ours.dtype == in_jax.dtype == np.float32
    assert not np.array_equal(ours, x)
    np.testing.assert_array_equal(x, before)
    for other in (np.asarray(in_jax), in_torch.numpy()):
        np.testing.assert_allclose(other, ours, rtol=0, atol=0 if name in EXACT else 1e-5)


@given(
    names=st.sampled_from([("flip",), ("color", "altflip"), ("crop", "cutout"), ("affine", "color", "flip")]),
    sizes=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    epoch=st.integers(0, 5),
)
def test_seed_epoch_and_example_alone_decide(names, sizes, epoch):
    split = numbered(40, channels=3)
    rng = np.random.default_rng(0)
    split = split._replace(inputs=rng.integers(0, 256, (40, 8, 8, 3), np.uint8), labels=np.arange(40, dtype=np.int32))

    def pixels(size: int, seed: int, epoch: int) -> dict[int, np.ndarray]:
        loader = Loader(split, FILL, FILL, size, seed, augment=names)
        return {int(label): x for batch in loader.epoch(epoch) for x, label in zip(*batch, strict=True)}

    first, second = (pixels(size, 3, epoch) for size in sizes)
    assert all(np.array_equal(first[label], second[label]) for label in range(40))
    for other in (pixels(8, 4, epoch), pixels(8, 3, epoch + 1)):
        assert not all(np.array_equal(first[label], other[label]) for label in range(40))


def test_evaluation_sees_the_examples_as_they_are():
    split = numbered(20, channels=3)
    plain, loud = (Loader(split, FILL, FILL, 7, augment=names) for names in ((), ("flip", "crop")))
    for ours, theirs in zip(plain.epoch(), loud.epoch(), strict=True):
        np.testing.assert_array_equal(ours.inputs, theirs.inputs)


def test_flip_swaps_left_and_right():
    x = examples("flip", 2)
    y = changed("flip", x, np.array([[0.49], [0.5]]))
    np.testing.assert_array_equal(y[0], x[0][:, ::-1])
    np.testing.assert_array_equal(y[1], x[1])


@given(st.integers(0, 99), st.integers(0, 9))
def test_altflip_swaps_every_example_in_one_of_two_epochs(seed, epoch):
    split = Split(np.random.default_rng(0).integers(0, 256, (50, 3, 4, 1), np.uint8), np.arange(50, dtype=np.int32))

    def swapped(epoch: int) -> np.ndarray:
        loader = Loader(split, np.zeros(1), np.ones(1), 16, seed, augment=("crop", "altflip"))
        drawn = loader.draw(epoch).draws
        assert drawn is not None
        assert not np.array_equal(drawn[:, :2], before)  # what else is drawn is drawn anew
        return drawn[:, 2] < 0.5

    before = draw(("crop", "altflip"), 50, seed, epoch + 2)[:, :2]
    first, second = swapped(epoch), swapped(epoch + 1)
    assert 0 < first.sum() < 50
    np.testing.assert_array_equal(first, ~second)


@pytest.mark.parametrize(("name", "most"), [("crop", (2, 4)), ("nudge", (1, 2))])
@given(down=st.floats(0, 0.999), right=st.floats(0, 0.999))
def test_crop_and_nudge_are_windows_of_the_reflected_picture(name, most, down, right):
    x = np.random.default_rng(0).random((1, 16, 32, 3), np.float32)
    y = changed(name, x, np.array([[down, right]]))
    padded = np.pad(x[0], (*((by, by) for by in most), (0, 0)), "reflect")
    top, left = (int(np.float32(at) * (2 * by + 1)) for at, by in zip((down, right), most, strict=True))
    np.testing.assert_array_equal(y[0], padded[top : top + 16, left : left + 32])


def test_cutout_fills_a_square_with_the_mean():
    x = examples("cutout", 1)
    y = changed("cutout", x, np.array([[0.5, 0.5]]))
    expected = x.copy()
    expected[0, 8:13, 9:15] = FILL  # 20 / 4 is 5 rows, 24 / 4 is 6 columns, around the middle
    np.testing.assert_array_equal(y, expected)


@given(st.lists(st.floats(0, 0.999), min_size=4, max_size=4))
def test_affine_is_what_pytorch_samples(draws):
    """The oracle is `grid_sample`, given the inverse of: turn, scale, move."""
    x = np.random.default_rng(0).random((1, 11, 11, 3), np.float32)
    angle, scale = np.radians(10) * (2 * draws[0] - 1), 0.9 + 0.2 * draws[1]
    down, right = ((2 * at - 1) * 11 / 16 for at in draws[2:])
    cos, sin, unit = np.cos(angle) / scale, np.sin(angle) / scale, 5.0  # a grid from -1 to 1 has 5 pixels a unit
    theta = [
        [cos, sin, -(cos * right + sin * down) / unit],
        [-sin, cos, -(cos * down - sin * right) / unit],
    ]
    grid = torch.nn.functional.affine_grid(torch.tensor([theta]), [1, 3, 11, 11], align_corners=True)
    wide = torch.from_numpy(x).double().permute(0, 3, 1, 2)
    expected = torch.nn.functional.grid_sample(wide, grid.double(), padding_mode="border", align_corners=True)
    y = changed("affine", x, np.array([draws]))
    np.testing.assert_allclose(y, expected.permute(0, 2, 3, 1), atol=2e-5)


@pytest.mark.parametrize(("height", "width"), [(40, 40), (20, 64), (64, 20)])
def test_boxes_of_resizedcrop_are_those_of_torchvision(height, width):
    """Both draw areas and ratios until a box fits: means and deviations of 4,000 boxes agree."""
    torch.manual_seed(0)
    picture = torch.zeros(1, height, width)
    theirs = np.array([RandomResizedCrop.get_params(picture, [*AREA], [*RATIO]) for _ in range(4000)])
    ours = np.stack(random_box(np, draw(("resizedcrop",), 4000, seed=0, epoch=0), height, width), axis=1)
    deviation = theirs.std(axis=0)
    assert (np.abs(ours.mean(axis=0) - theirs.mean(axis=0)) < 5 * deviation / 4000**0.5 * 2**0.5 + 1e-9).all()
    np.testing.assert_allclose(ours.std(axis=0), deviation, rtol=0.08)
    np.testing.assert_allclose(np.median(ours[:, 2:].prod(axis=1)), np.median(theirs[:, 2:].prod(axis=1)), rtol=0.08)
    assert (ours[:, :2] >= 0).all()
    assert (ours[:, 0] + ours[:, 2] <= height).all()
    assert (ours[:, 1] + ours[:, 3] <= width).all()


def test_where_no_box_fits_resizedcrop_takes_torchvisions_in_the_middle():
    draws = np.full((2, 22), 0.999, np.float32)  # areas of nearly all, which no ratio in the range can have
    for height, width in ((20, 64), (64, 20), (20, 21)):
        picture = torch.zeros(1, height, width)
        expected = RandomResizedCrop.get_params(picture, [40.0, 40.0], [*RATIO])
        found = [part[0] for part in random_box(np, draws, height, width)]
        assert tuple(found) == expected
        assert found[2] / found[3] == pytest.approx(min(max(height / width, 3 / 4), 4 / 3), rel=0.05)


@given(st.integers(0, 999))
def test_resizedcrop_is_the_box_that_torchvision_resizes(seed):
    x = np.random.default_rng(0).random((3, 24, 30, 3), np.float32)
    draws = draw(("resizedcrop",), 3, seed, 0)
    y = changed("resizedcrop", x, draws)
    for one, other, box in zip(x, y, np.stack(random_box(np, draws, 24, 30), axis=1), strict=True):
        picture = torch.from_numpy(one).permute(2, 0, 1)
        expected = resized_crop(picture, *map(int, box), size=[24, 30], antialias=True)
        np.testing.assert_allclose(other, expected.permute(1, 2, 0), atol=1e-5)


def test_color_of_the_middle_changes_nothing_and_stays_in_range():
    x = examples("color", 4)
    np.testing.assert_allclose(changed("color", x, np.full((4, 3), 0.5)), x, atol=1e-6)
    for draws in (np.zeros((4, 3)), np.full((4, 3), 0.999)):
        y = changed("color", x, draws)
        assert 0 <= y.min() <= y.max() <= 1


def test_sound_is_shifted_amplified_and_disturbed():
    x = examples("shift", 2) - 0.5
    y = changed("shift", x, np.array([[0.0], [0.999]]))  # by 40 of 400 samples, earlier and later
    np.testing.assert_array_equal(y[0, :-40], x[0, 40:])
    np.testing.assert_array_equal(y[1, 40:], x[1, :-40])
    assert not y[0, -40:].any()
    assert not y[1, :40].any()
    np.testing.assert_allclose(changed("gain", x, np.array([[0.0], [0.5]])), x * [[[10**-0.3]], [[1]]], rtol=1e-6)
    noise = changed("noise", x, np.array([[0.3, 0.0], [0.3, 0.5]])) - x
    ratio = 20 * np.log10(np.linalg.norm(x, axis=1) / np.linalg.norm(noise, axis=1))
    np.testing.assert_allclose(ratio[:, 0], [20, 30], atol=1)


@given(st.integers(0, 99))
def test_specaugment_hides_at_most_two_bands_and_two_stretches(seed):
    x = examples("specaugment", 4)
    y = changed("specaugment", x, draw(("specaugment",), 4, seed, 0))
    hidden = (y == FILL[0])[..., 0] & (x[..., 0] != FILL[0])
    np.testing.assert_array_equal(y[..., 0][~hidden], x[..., 0][~hidden])
    assert (hidden.all(axis=2).sum(axis=1) <= 2 * 3).all()
    assert (hidden.all(axis=1).sum(axis=1) <= 2 * 2).all()


@given(alpha=st.floats(0.1, 5), size=st.integers(1, 20))
def test_mixup_mixes_examples_and_labels_alike(alpha, size):
    rng = np.random.default_rng(0)
    split = Split(rng.integers(0, 256, (30, 4, 4, 3), np.uint8), (np.arange(30) % 5).astype(np.int32))
    plain = list(Loader(split, FILL, FILL, size, seed=1).epoch(0))
    mixed = list(Loader(split, FILL, FILL, size, seed=1, mixup=alpha, classes=5).epoch(0))
    for (x, labels), (y, targets) in zip(plain, mixed, strict=True):
        assert targets.shape == (len(labels), 5)
        np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-6)
        own = targets[np.arange(len(labels)), labels]
        assert (own > 0.499).all()
        share = np.where(labels == labels[::-1], 1, own)  # of two of one class the label does not tell
        same = labels == labels[::-1]
        expected = share[:, None, None, None] * x + (1 - share[:, None, None, None]) * x[::-1]
        np.testing.assert_allclose(y[~same], expected[~same], atol=1e-5)


@pytest.mark.parametrize("framework", ["jaxnets", "torchnets"])
@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--augment", "flop"], "unknown augmentation 'flop'. Did you mean 'flip'? Known: affine,"),
        (["--augment", "flip,crop,flip"], "augmentation 'flip' is named twice in 'flip,crop,flip'"),
        (["--augment", "gain"], "augmentation 'gain' is for waveforms, found images; for those there are: affine,"),
        (
            ["--dataset", "tones", "--frontend", "logmel", "--augment", "shift"],
            "augmentation 'shift' is for waveforms, found features; for those there are: specaugment",
        ),
    ],
)
def test_what_cannot_be_done_is_refused_in_one_line(framework, argv, said, run_main, tmp_path):
    code, _, err = run_main(f"{framework}.train", *argv)
    assert code == 1
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_list_of_augmentations(run_main):
    code, out, _ = run_main("torchnets.train", "--list-augmentations")
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines()] == [[n, e.kind] for n, e in AUGMENTATIONS.items()]
