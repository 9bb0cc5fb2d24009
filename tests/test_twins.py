"""`parity twins`: both files of a network in two columns, with what was measured of every layer."""

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import jax.numpy as jnp
import pytest

import jaxnets.models.mlp
import torchnets
from parity.checks.layer_errors import measure
from parity.pages.bar import bar, number, position
from parity.twins import measured
from parity.twins.align import APART, PAIR, SAME, align, differing_words
from parity.twins.columns import Facts, channels_first, read, shown_layers
from parity.twins.layers import flax_layers, torch_layers
from parity.twins.pairs import networks, shared_files
from parity.twins.traps import named_in, traps

ROOT = Path(__file__).parents[1]
SIDES = {"jax": "jaxnets", "torch": "torchnets"}
LAYERS = ("fc_0", "fc_1", "fc_2", "fc_3", "head")


class Columns(HTMLParser):
    """The rows of a page: (side, number, text, notes) of every cell with a line, and the errors beside it."""

    def __init__(self, page: str):
        super().__init__()
        self.rows: list[dict] = []
        self._at: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        kinds = (given.get("class") or "").split()
        if tag == "tr" and kinds and kinds[0] in (SAME, PAIR, APART):
            self.rows.append({"kind": kinds[0], "jax": None, "torch": None, "note": {}, "marked": ""})
        if tag == "td" and "no" in kinds:
            side, _, line = (given.get("id") or "").partition("-")
            if side:
                self.rows[-1][side] = [int(line), ""]
        if tag == "td" and "code" in kinds:
            self._side = next((kind for kind in kinds if kind in SIDES), "")
        if tag in ("div", "mark", "td", "b"):
            self._at.append(kinds[0] if kinds else tag)

    def handle_endtag(self, tag):
        if tag in ("div", "mark", "td", "b") and self._at:
            self._at.pop()

    def handle_data(self, data):
        if not self.rows or not self._at:
            return
        if "l" in self._at:
            self.rows[-1][self._side][1] += data
        elif self._at[-1] == "layer":
            self.rows[-1]["note"][self._side] = self.rows[-1]["note"].get(self._side, "") + data
        if self._at[-1] == "mark":
            self.rows[-1]["marked"] += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("twins")


@pytest.fixture
def pages(folder, run_parity) -> Path:
    """The pages of a network and of the step; the first test that asks for them has them written."""
    if not (folder / "index.html").exists():
        code, out, _ = run_parity("twins", "mlp", "step", "--out", folder)
        assert code == 0
        assert out.splitlines() == ["mlp: measured, float64", f"4 pages: {folder / 'index.html'}"]
    return folder


def shown_errors(page: str) -> list[tuple[str, float, bool]]:
    """Return what is said, the error and whether it is marked as over its bound, of every bar between the columns."""
    cells = "".join(re.findall(r'<td class="mid">(.*?)</td>', page))
    found = re.findall(r'class="fig( over)?" title="(.*?) (\S+), bound .*?<b>(\S+?)( ✗)?</b>', cells)
    assert all(said == shown and bool(over) == bool(cross) for over, _, said, shown, cross in found)
    return [(what, float(error), bool(over)) for over, what, error, _, _ in found]


@pytest.mark.parametrize("name", ["mlp", "step"])
def test_every_line_stands_once_in_its_column_and_in_order(pages, name):
    columns = Columns((pages / f"{name}.html").read_text())
    file = f"models/{name}.py" if name == "mlp" else f"{name}.py"
    for side, package in SIDES.items():
        shown = [row[side] for row in columns.rows if row[side]]
        source = (ROOT / package / file).read_text().splitlines()
        assert [text for _, text in shown] == source
        assert [at for at, _ in shown] == list(range(1, len(source) + 1))
    for row in columns.rows:
        if row["kind"] == SAME:
            assert row["jax"][1] == row["torch"][1]
            assert not row["marked"]
    aligned = {row["jax"][1].strip(): row["torch"][1].strip() for row in columns.rows if row["jax"] and row["torch"]}
    expected = {
        "mlp": {
            "def setup(self):": "super().__init__()",
            "self.head = linear(widths[-1], self.num_classes)": "self.head = linear(widths[-1], num_classes)",
            "x = flatten(x)  # (N, in_features)": "x = torch.flatten(x, 1)  # (N, in_features)",
        },
        "step": {"value = loss(logits, batch.labels)": "value = loss(logits, labels)"},
    }[name]
    assert expected.items() <= aligned.items()


def test_layers_have_both_shapes_their_parameters_and_their_errors(pages):
    page = (pages / "mlp.html").read_text()
    notes = [row["note"] for row in Columns(page).rows if row["note"]]
    assert notes == [
        dict.fromkeys(SIDES, "4 layers → (N, 256) … (N, 32) · 244,192 parameters"),
        dict.fromkeys(SIDES, "→ (N, 10) · 330 parameters"),
    ]
    assert sum(int(note["jax"].split("· ")[1].split()[0].replace(",", "")) for note in notes) == 244_522
    errors = shown_errors(page)
    assert [what.partition(":")[0] for what, _, _ in errors] == ["forward", "backward"] * 2
    assert all(0 < error < 1e-13 and not over for _, error, over in errors)
    kept = json.loads((pages / "measurements.json").read_text())["mlp"]["layers"]
    assert [row["layer"] for row in kept] == [*LAYERS, "input", "output"]
    table = page.partition('id="all-layers"')[2]
    for row in kept:
        for what in ("forward", "backward"):
            if row[what]:
                assert f'data-sort="{row[what]["error"]}"' in table
                assert number(row[what]["error"]) in table


def test_pages_load_nothing_and_are_small(pages):
    for path in sorted(pages.glob("*.html")):
        text = path.read_text()
        assert len(text) < 200_000
        assert not re.search(r"(?:src|href|url)\s*[=(]\s*[\"']?(?:https?:)?//|@import|<link(?! rel=\"icon\")", text)
        for target in re.findall(r'href="([^"]*)"', text):
            file, _, part = target.partition("#")
            if target == "data:,":
                continue
            other = (pages / file).read_text() if file else text
            assert not part or f'id="{part}"' in other, f"{path.name}: {target}"


def test_a_comment_on_a_trap_is_linked_to_its_text(pages):
    page = (pages / "step.html").read_text()
    assert '<a href="#trap-31">trap 31</a>' in re.sub("</?span.*?>", "", page)
    box = re.search(r'id="trap-31">(.*?)</article>', page)
    assert box
    assert html.unescape(re.sub(r"<.*?>", "", box[1])).startswith("Trap 31PyTorchdropout uses a global generator")
    assert named_in("# is 1e-3 (traps 2 and 6).") == [(11, 18, 2), (23, 24, 6)]
    assert named_in("# (trap 999), a mousetrap 6") == []
    every = (pages / "traps.html").read_text()
    assert set(re.findall(r'id="trap-(\d+)"', every)) == {str(n) for n in traps()}
    assert "warm-up of no step" in every
    assert len(traps()) > 30


def test_what_is_measured_is_kept_for_as_long_as_the_sources_are_the_same(pages, folder, run_parity, monkeypatch):
    before = (pages / "mlp.html").read_text()
    monkeypatch.setattr(measured, "measure", lambda _: pytest.fail("measured again"))
    code, out, _ = run_parity("twins", "mlp", "step", "--out", folder)
    assert code == 0
    assert "measured" not in out
    assert (folder / "mlp.html").read_text() == before
    file = folder / "measurements.json"
    code, _, _ = run_parity("twins", "mlp", "--out", folder / "other", "--measurements", file)
    assert code == 0
    assert not (folder / "other" / "measurements.json").exists()
    monkeypatch.setattr(measured, "digest", lambda _: "other sources")
    with pytest.raises(pytest.fail.Exception, match="measured again"):
        measured.Measurements(file).of(networks()["mlp"], lambda _: None)


def test_pages_of_sources_alone(run_parity, tmp_path):
    code, out, _ = run_parity("twins", "lenet5_bn", "--no-measure", "--out", tmp_path / "a" / "b")
    page = (tmp_path / "a" / "b" / "lenet5_bn.html").read_text()
    assert code == 0
    assert out == f"3 pages: {tmp_path / 'a' / 'b' / 'index.html'}\n"
    assert 'class="fig' not in page
    assert not list(tmp_path.rglob("*.json"))
    notes = {row["jax"][1].split(" =")[0].strip(): row["note"] for row in Columns(page).rows if row["note"]}
    assert notes["self.conv2"] == {
        "jax": "→ (N, 10, 10, 16) · 2,416 parameters",
        "torch": "→ (N, 16, 10, 10) · 2,416 parameters",
    }
    assert len(notes) == 11


def test_a_fault_of_a_layer_is_a_long_bar_from_there_on(run_parity, monkeypatch, tmp_path):
    monkeypatch.setattr(jaxnets.models.mlp, "relu", jnp.tanh)
    code, _, _ = run_parity("twins", "mlp", "--out", tmp_path)
    assert code == 0
    page = (tmp_path / "mlp.html").read_text()
    table = page.partition('id="all-layers"')[2].partition("</table>")[0]
    rows = re.findall(r'id="layer-(\w+)".*', table)
    figures = dict(zip(rows, (row.split("</td>")[-3:-1] for row in table.split("<tr>")[2:]), strict=True))
    assert set(figures) == {*LAYERS, "input", "output"}
    forward = {name: cells[0] for name, cells in figures.items()}
    assert 'class="fig"' in forward["fc_0"]  # what comes before the fault is as it was
    assert length(forward["fc_0"]) < 20
    for name in (*LAYERS[1:], "output"):
        assert 'class="fig over"' in forward[name]
        assert length(forward[name]) > 80
    assert 'class="fig over"' in figures["fc_0"][1]  # backward, the fault is between the loss and this layer
    assert all(over for _, _, over in shown_errors(page))


@pytest.mark.slow
def test_a_tie_of_two_max_pools_is_no_error_of_a_layer():
    found = {row.layer: row for row in measure("inception_1d").layers}
    layer = found["blocks_0/path_pool_1/conv"].backward  # at its output PyTorch's own gradient is undecided: 5.4e-3
    assert layer is not None
    assert layer.what == "gradient of kernel"
    assert all(row.backward is None or row.backward.error < row.backward.bound for row in found.values())


def length(cell: str) -> float:
    """Return how long the bar in a cell is, in percent."""
    return float(re.findall(r'class="fill" y="1" width="([\d.]+)"', cell)[0])


def test_the_scale_of_a_bar():
    assert [position(value) for value in (0, 1e-17, 1e-16, 1.0, 50.0, float("inf"), float("nan"))] == [
        0.0,
        0.0,
        5.9,
        100.0,
        100.0,
        100.0,
        100.0,
    ]
    assert "over" not in bar(0.0, 0.0)
    assert "over" in bar(float("nan"), 1e-13)
    assert 'x="23.5"' in bar(1e-16, 1e-13)  # where the bound is


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("lenet",), ["unknown network or file 'lenet'", "Did you mean 'lenet5'?", "optimizers", "resnet18"]),
        (("stpe",), ["Did you mean 'step'?"]),
    ],
)
def test_an_unknown_name_is_one_line_with_the_nearest(run_parity, tmp_path, argv, words):
    code, _, err = run_parity("twins", *argv, "--out", tmp_path / "pages")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert all(word in err for word in words)
    assert not (tmp_path / "pages").exists()


@pytest.mark.parametrize("content", ["{", "[1]", '{"mlp": {"sources": "SAME", "layers": 3}}'])
def test_a_broken_file_of_measurements_is_named(run_parity, tmp_path, content):
    file = tmp_path / "old.json"
    file.write_text(content.replace("SAME", measured.digest(networks()["mlp"])))
    code, _, err = run_parity("twins", "mlp", "--out", tmp_path / "pages", "--measurements", file)
    assert code == 1
    assert err.startswith(f"error: {file}: ")
    assert len(err.splitlines()) == 1


def test_a_folder_that_is_a_file(run_parity, tmp_path):
    (tmp_path / "pages").write_text("")
    code, _, err = run_parity("twins", "step", "--out", tmp_path / "pages")
    assert code == 1
    assert re.fullmatch(r"error: .*pages: cannot be made a folder of pages .*", err)


def test_every_pair_is_aligned_without_a_line_lost():
    every = networks() | shared_files()
    assert set(torchnets.MODELS) <= set(every)
    assert {"step", "optimizers", "losses", "loop"} <= set(every)
    for jax_file, torch_file in {(twin.jax, twin.torch) for twin in every.values()}:
        ours, theirs = (path.read_text().splitlines() for path in (jax_file, torch_file))
        rows = align(ours, theirs)
        assert [row.jax for row in rows if row.jax is not None] == list(range(len(ours)))
        assert [row.torch for row in rows if row.torch is not None] == list(range(len(theirs)))
        assert all(row.jax is not None or row.torch is not None for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(networks()))
def test_the_lines_that_make_a_layer_stand_beside_each_other(name):
    twin = networks()[name]
    facts = Facts(flax_layers(twin), torch_layers(twin), None)
    content = read(twin, facts)
    beside = {row.jax: row.torch for row in content.rows if row.jax is not None}
    names = shown_layers(facts)
    assert set(names) <= facts.jax.keys() & facts.torch.keys()
    for layer in names:
        ours, theirs = facts.jax[layer], facts.torch[layer]
        assert beside[ours.line - 1] == theirs.line - 1
        assert ours.parameters == theirs.parameters
        assert channels_first(ours.shape) == theirs.shape
    entry = torchnets.MODELS[name]
    assert (
        sum(facts.jax[layer].parameters for layer in names if "/" not in layer) == entry.num_params + entry.num_frozen
    )


def test_words_that_differ():
    ours, theirs = "    x = max_pool(relu(x), 2)  # (N, 14, 6)", "    x = max_pool2d(relu(x), 2)  # (N, 6, 14)"
    found = [
        [line[a:b] for a, b in marks]
        for line, marks in zip((ours, theirs), differing_words(ours, theirs), strict=True)
    ]
    assert found[0][0] == "max_pool"
    assert found[1][0] == "max_pool2d"
    assert differing_words("    block: Any", "        block: Any,") == ([], [])
