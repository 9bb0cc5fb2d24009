"""Pictures of what a network has learned: `visualize`, in both frameworks."""

import json
import re
import shutil
from functools import partial
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.signal import freqz

import torchnets
from data import load
from experiment.activations import Activation, Kernel, names, settle, without_partial_sums
from experiment.config import Config
from experiment.registry import with_shape
from experiment.visualize import compute, page
from experiment.visualize.canvas import Canvas
from experiment.visualize.evidence import enlarged, grad_cam
from experiment.visualize.filters import by_frequency, responses
from experiment.visualize.mistakes import worst
from jaxnets import loop as jax_loop
from torchnets import loop as torch_loop

FRAMEWORKS = ("jaxnets", "torchnets")
BACKENDS = {"jaxnets": jax_loop, "torchnets": torch_loop}
NET = ["conv1", "relu_1", "max_pool", "conv2", "relu_2", "fc"]
LENET = [
    *("conv1", "relu_1", "max_pool_1", "conv2", "relu_2", "max_pool_2", "conv3", "relu_3"),
    *("fc1", "relu_4", "fc2"),
]
# A network for 8x8 pixels: what XLA compiles for it takes a second.
TWINS = {
    "jaxnets": """
from flax import linen as nn
from jaxnets.layers import conv2d, flatten, linear, max_pool, relu

class Net(nn.Module):
    num_classes: int = 10

    def setup(self):
        self.conv1, self.conv2 = conv2d(1, 4, 3, padding=1), conv2d(4, 6, 3)
        self.fc = linear(24, self.num_classes)

    def __call__(self, x, *, train=False):
        return self.fc(flatten(relu(self.conv2(max_pool(relu(self.conv1(x)), 2)))))
""",
    "torchnets": """
from torch import nn
from torch.nn.functional import max_pool2d, relu

class Net(nn.Module):
    def __init__(self, num_classes=10):
        super().__init__()
        self.conv1, self.conv2, self.fc = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 6, 3), nn.Linear(24, num_classes)

    def forward(self, x):
        return self.fc(relu(self.conv2(max_pool2d(relu(self.conv1(x)), 2))).flatten(1))
""",
}


@pytest.fixture(scope="module")
def twins(tmp_path_factory) -> dict[str, str]:
    """The names of a small network of the user's own, by framework."""
    folder, found = tmp_path_factory.mktemp("twins"), {}
    for framework, text in TWINS.items():
        path = folder / f"{framework}_net.py"
        path.write_text(text)
        found[framework] = f"{path}:Net"
    return found


@pytest.fixture(scope="module")
def run(twins, tmp_path_factory) -> Path:
    """A run of it."""
    return torchnets.fit(twins["torchnets"], "digits", epochs=0).save(tmp_path_factory.mktemp("trained") / "run")


@pytest.fixture
def float64():
    for backend in BACKENDS.values():
        backend.set_precision(Config(precision="float64"))
    yield
    for backend in BACKENDS.values():
        backend.set_precision(Config())


@pytest.fixture
def undrawn(monkeypatch) -> list[bytes]:
    """Let all pictures be the same small one, as drawing takes longer than all else; return them."""
    drawn, empty = [], Canvas(10, 10, "").png()
    monkeypatch.setattr(page, "draw_quietly", lambda _: drawn.append(empty) or empty)
    return drawn


class Page(HTMLParser):
    """What a page refers to, and the texts of its pictures."""

    def __init__(self, text: str):
        super().__init__()
        self.links: list[str] = []
        self.images: dict[str, dict[str, str]] = {}
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = {name: value or "" for name, value in attrs}
        self.links += [found[name] for name in ("src", "href") if name in found]
        if tag == "img":
            self.images[found["src"]] = found


def check_album(folder: Path) -> Page:
    found = Page((folder / "index.html").read_text(encoding="utf-8"))
    files = {path.name for path in folder.iterdir()}
    assert {link for link in found.links if not link.startswith("#")} == files - {"index.html", "visualize.json"}
    assert set(json.loads((folder / "visualize.json").read_text())["files"]) == files
    for name, attributes in found.images.items():
        assert len(attributes["alt"]) > 10
        with Image.open(folder / name) as image:
            assert image.size == (int(attributes["width"]), int(attributes["height"]))
            assert image.width <= 960
            assert len(np.unique(np.asarray(image.convert("L")))) > 20  # something is drawn
    return found


def check_equal(first: Path, second: Path) -> None:
    assert sorted(path.name for path in first.iterdir()) == sorted(path.name for path in second.iterdir())
    for path in first.glob("*.png"):
        with Image.open(path) as one, Image.open(second / path.name) as other:
            assert np.array_equal(np.asarray(one), np.asarray(other)), path.name
    assert (first / "index.html").read_bytes() == (second / "index.html").read_bytes()


@pytest.mark.usefixtures("undrawn")
def test_mistakes_of_many_examples_are_found_in_float32_and_ordered_in_float64(run, run_main, tmp_path, monkeypatch):
    pages = []
    for few in (0, compute.FEW):
        monkeypatch.setattr(compute, "FEW", few)
        assert run_main("torchnets.visualize", run, "--out", f"{few}")[::2] == (0, "")
        pages.append((tmp_path / f"{few}/index.html").read_bytes())
    assert pages[0] == pages[1]  # the texts have the numbers and the classes of the mistakes


def test_both_frameworks_draw_the_same_pictures_of_the_same_weights(run, twins, run_main, tmp_path):
    for framework in FRAMEWORKS:
        argv = (run, "--model", twins[framework], "--index", 3, "--out", framework)
        code, out, err = run_main(f"{framework}.visualize", *argv)
        assert (code, err) == (0, "")
        assert out == f"12 pictures in {framework}; open {framework}/index.html\n"
    album = check_album(tmp_path / "jaxnets")
    check_equal(tmp_path / "jaxnets", tmp_path / "torchnets")
    assert list(album.images) == [
        *("input.png", "filters-conv1.png", "saliency.png", "grad-cam.png", "pool-max_pool.png"),
        *(f"activation-{at}-{name}.png" for at, name in enumerate(NET, 1)),
        "mistakes.png",
    ]
    text = (tmp_path / "jaxnets/index.html").read_text(encoding="utf-8")
    assert f"true class {load('digits').test.labels[3]}" in text
    assert not re.search(r"https?:|<script|@import|url\(", text)
    wrong = int(re.search(r"(\d+) of 360 test examples are classified wrongly", text)[1])  # type: ignore[index]
    accuracy = json.loads((run / "summary.json").read_text())["test"]["accuracy"]
    assert 1 - wrong / 360 == pytest.approx(accuracy, abs=1e-9)


@pytest.mark.usefixtures("float64")
def test_activations_and_gradients_are_those_of_the_network(twins):
    x = np.random.default_rng(0).normal(size=(2, 8, 8, 1)).round(1)
    labels = np.array([3, 7])
    entries = {name: with_shape(backend.MODELS[twins[name]], (8, 8, 1)) for name, backend in BACKENDS.items()}
    module, weights = torch_loop.create(entries["torchnets"], 10, 0)
    model, template = jax_loop.create(entries["jaxnets"], 10, 0)
    both = [
        (jax_loop, model, jax_loop.restore(template, torch_loop.export(weights))),
        (torch_loop, module, weights),
    ]
    images = torch.from_numpy(x).movedim(-1, 1).requires_grad_()
    logits = module.eval()(images)
    logits[[0, 1], labels].sum().backward()
    assert images.grad is not None
    by_input = images.grad.movedim(1, -1).numpy()
    kept = []
    for backend, net, variables in both:
        values = {name: found.values for name, found in backend.activations(net, variables, x).items()}
        assert list(values) == NET
        assert values["fc"] == pytest.approx(logits.detach().numpy(), abs=1e-12)
        assert np.array_equal(values["relu_1"], np.maximum(values["conv1"], 0))
        blocks = values["relu_1"].reshape(2, 4, 2, 4, 2, 4)
        assert np.array_equal(values["max_pool"], blocks.max(axis=(2, 4)))
        assert backend.gradient(net, variables, x, labels) == pytest.approx(by_input, abs=1e-7)
        last = backend.gradient(net, variables, x, labels, "relu_2")  # the weights of the class
        rows = weights["fc.weight"].numpy()[labels].reshape(2, 6, 2, 2)
        assert last == pytest.approx(rows.transpose(0, 2, 3, 1), abs=1e-12)
        kernels = backend.kernels(net, variables, x)
        assert {name: kernel.input_shape for name, kernel in kernels.items()} == {
            **{"conv1": (8, 8, 1), "conv2": (4, 4, 4), "fc": (24,)}
        }
        assert np.array_equal(kernels["conv2"].values, weights["conv2.weight"].numpy().transpose(2, 3, 1, 0))
        pool = backend.max_pools(net, variables, x)["max_pool"]
        assert pool.kept.sum() == 2 * 4 * 4 * 4
        assert np.array_equal((pool.inputs * pool.kept).reshape(2, 4, 2, 4, 2, 4).sum(axis=(2, 4)), pool.outputs)
        kept.append(pool.kept)
    assert np.array_equal(*kept)


NO_LAYER = ["--layer conv9: no layer with filters", "Did you mean 'conv", "there are conv1, conv2, fc"]
BAD = [
    (["RUN", "--layer", "conv9", "--out", "new"], NO_LAYER),
    (["RUN", "--layer", "relu_1", "--out", "new"], ["--layer relu_1: no layer with filters"]),
    (["RUN", "--index", "360", "--out", "new"], ["--index is 360", "0 to 359"]),
    (["RUN", "--index", "-1", "--out", "new"], ["--index is -1", "at least 0"]),
    (["RUN", "--index", "1", "--image", "a.png", "--out", "new"], ["--image and --index", "one of them"]),
    (["RUN", "--image", "gone.png", "--out", "new"], ["gone.png"]),
    (["RUN", "--image", "text.png", "--out", "new"], ["text.png"]),
    (["RUN"], ["--out DIR"]),
    (["--out", "new"], ["no run folder"]),
    (["nowhere", "--out", "new"], ["nowhere"]),
    (["RUN", "--out", "mine"], ["mine", "exists already"]),
    (["RUN", "--out", "mine", "--overwrite"], ["mine", "not written by visualize"]),
    (["RUN", "--out", "text.png", "--overwrite"], ["text.png", "is a file"]),
]


@pytest.mark.parametrize(("argv", "said"), BAD, ids=lambda value: " ".join(value))
def test_bad_input_is_one_clear_line_and_nothing_is_touched(argv, said, run, run_main, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("kept")
    (tmp_path / "text.png").write_text("no picture")
    code, out, err = run_main("torchnets.visualize", *(run if word == "RUN" else word for word in argv))
    assert (code, out) == (1, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for words in said:
        assert words in err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["mine", "notes.txt", "text.png"]
    assert (tmp_path / "mine/notes.txt").read_text() == "kept"


@pytest.mark.usefixtures("undrawn")
def test_a_folder_of_the_command_is_replaced_and_other_files_in_it_stay(run, run_main, tmp_path):
    assert run_main("torchnets.visualize", run, "--out", "seen")[0] == 0
    (tmp_path / "seen/notes.txt").write_text("kept")
    (tmp_path / "seen/filters-conv2.png").write_text("mine")
    argv = ("torchnets.visualize", run, "--layer", "conv2", "--out", "seen", "--overwrite")
    code, _, err = run_main(*argv)
    assert (code, err) == (
        1,
        "error: --out seen: filters-conv2.png is not a file of visualize's; name another folder\n",
    )
    assert (tmp_path / "seen/filters-conv2.png").read_text() == "mine"
    assert (tmp_path / "seen/filters-conv1.png").exists()
    (tmp_path / "seen/filters-conv2.png").unlink()
    assert run_main(*argv)[0] == 0
    assert (tmp_path / "seen/notes.txt").read_text() == "kept"
    files = {path.name for path in (tmp_path / "seen").iterdir()}
    assert files - set(json.loads((tmp_path / "seen/visualize.json").read_text())["files"]) == {"notes.txt"}
    assert "filters-conv2.png" in files
    assert "filters-conv1.png" not in files


def test_of_a_network_without_convolutions_is_drawn_what_there_is(run_main, tmp_path, undrawn):
    torchnets.fit("mlp", "digits", epochs=0).save(tmp_path / "run")
    image = tmp_path / "a.png"
    Image.fromarray(load("digits").test.inputs[0][..., 0] * 15).save(image)
    code, _, err = run_main("torchnets.visualize", "run", "--image", image, "--out", "seen")
    assert (code, err) == (0, "")
    assert [path.name for path in sorted((tmp_path / "seen").glob("*.png")) if "activation" not in path.name] == [
        *("filters-fc_0.png", "input.png", "mistakes.png", "saliency.png")
    ]
    assert len(list((tmp_path / "seen").glob("activation-*.png"))) == 9
    assert len(undrawn) == 13
    assert "no convolutions" in (tmp_path / "seen/index.html").read_text()


def test_what_is_drawn_by_hand():
    # A gradient that is even over the positions: the map is the weighted sum, without what is negative.
    activation = np.array([[[1.0, 0.0], [0.0, 2.0]]])
    gradient = np.broadcast_to(np.array([0.5, -1.0]), activation.shape)
    assert grad_cam(activation, gradient).tolist() == [[0.5, 0.0]]
    assert enlarged(np.array([[0.0, 4.0]]), (1, 4)).tolist() == [[0.0, 1.0, 3.0, 4.0]]
    shares = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.05, 0.95]])
    assert worst(shares, np.array([0, 1, 0, 0])).tolist() == [3, 1, 2]
    # A filter of 1 kHz, and one over two channels against SciPy's response of each.
    times = np.arange(80) / 8000
    tones = np.stack([np.cos(2 * np.pi * f * times) for f in (3000, 1000)], axis=1)
    order, peaks = by_frequency(tones, 8000)
    assert order.tolist() == [1, 0]
    assert peaks == pytest.approx([3000, 1000], abs=20)
    kernel = np.random.default_rng(0).normal(size=(5, 2, 1))
    expected = [np.abs(freqz(kernel[:, at, 0], worN=513, include_nyquist=True)[1]) for at in range(2)]
    assert responses(kernel)[0] == pytest.approx(np.hypot(*expected))
    assert settle(np.array([1.0, 1 / 3, 1 / 3 + 1e-12, -1e-9])).tolist() == [1.0, 0.33333, 0.33333, 0.0]
    assert settle(np.zeros(2)).tolist() == [0, 0]
    calls = [("", "add"), ("", "add"), ("", "relu"), ("a", "add"), ("", "add")]
    assert without_partial_sums(calls) == [1, 2, 3, 4]
    assert names([("c", "x"), ("", "relu"), ("c", "x"), ("c", "relu")], [True, False, True, False]) == [
        *("c", "relu", "c#2", "c.relu")
    ]
    assert Activation("relu", shares).kind == "relu"
    assert Kernel("linear", shares, (4,)).values is shares


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lenet5", "mlp", "m5(width=8)", "quizdnn(width=8)"])
def test_sounds_and_deep_networks_are_drawn_alike_too(name, run_main, tmp_path):
    if not name.startswith("quizdnn"):
        torchnets.fit(name, "tones" if name.startswith("m5") else "digits", epochs=0).save(tmp_path / "run")
    else:
        generator = np.random.default_rng(0)
        for at, kind in enumerate(("a", "b")):
            for number in range(12):
                path = tmp_path / "own" / kind / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(generator.integers(0, 128 * (at + 1), (32, 32, 3)).astype(np.uint8)).save(path)
        torchnets.fit(name, tmp_path / "own", epochs=0, batch_size=4).save(tmp_path / "run")
    for framework in FRAMEWORKS:
        assert run_main(f"{framework}.visualize", "run", "--out", framework)[::2] == (0, "")
    album = check_album(tmp_path / "jaxnets")
    check_equal(tmp_path / "jaxnets", tmp_path / "torchnets")
    if name.startswith("m5"):
        assert {"responses-conv_0.png", "filters-conv_0.png", "pool-max_pool_4.png"} <= set(album.images)
    if name == "lenet5":
        assert [file.partition("-")[2][3:-4] for file in album.images if file.startswith("activation-")] == LENET
    if not name.startswith("quizdnn"):
        return
    shutil.move(tmp_path / "own", tmp_path / "moved")
    code, _, err = run_main("torchnets.visualize", "run", "--out", "again")
    assert (code, err.count("\n")) == (1, 1)
    argv = ("run", "--image", "moved/a/0.png", "--layer", "unit2/conv", "--out", "again")
    assert run_main("torchnets.visualize", *argv)[::2] == (0, "")
    album = check_album(tmp_path / "again")
    assert "filters-unit2.conv.png" in album.images
    assert "mistakes.png" not in album.images
    assert "No mistakes are shown: " in (tmp_path / "again/index.html").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["airbench", "alexnet_cifar", "fashion_cnn", "googlenet", "inception", "resnet18_1d"])
@pytest.mark.usefixtures("float64")
def test_layers_and_functions_have_the_same_names_in_both_frameworks(name):
    made, shape = {}, ()
    for framework, backend in BACKENDS.items():
        entry = backend.MODELS[name]
        options = {**entry.small.options, **entry.small.quick}
        shape = entry.small.input_shape or entry.input_shape
        made[framework] = backend.create(
            entry._replace(build=partial(entry.build, **options), input_shape=shape), 10, 0
        )
    module, weights = made["torchnets"]
    model, template = made["jaxnets"]
    variables = jax_loop.restore(template, torch_loop.export(weights))
    x = np.random.default_rng(0).normal(size=(1, *shape))
    ours, theirs = jax_loop.activations(model, variables, x), torch_loop.activations(module, weights, x)
    assert list(ours) == list(theirs)
    for layer, (kind, values) in ours.items():
        assert kind == theirs[layer].kind
        assert values == pytest.approx(theirs[layer].values, abs=1e-10)
    assert list(jax_loop.kernels(model, variables, x)) == list(torch_loop.kernels(module, weights, x))
