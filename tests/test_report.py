"""`parity report`: every figure of the page is that of the file it came from, and what is missing is said."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from parity.overview import checks, planted, throughput, trainings
from parity.overview.chart import Line, chart, linear, logarithmic, thinned
from parity.overview.sources import RESULTS
from tests.report_files import layers, reports, write_checks, write_run


class Page(HTMLParser):
    """What the tests need of a page: cells with their attributes and text, and the embedded figures."""

    def __init__(self, path: Path):
        super().__init__()
        self.text, self.cells, self._cell, self._script, json_text = path.read_text(), [], None, False, []
        self._json = json_text
        self.feed(self.text)
        self.figures = json.loads("".join(json_text))

    def handle_starttag(self, tag, attrs):
        if tag in ("td", "th"):
            self._cell = [dict(attrs), ""]
            self.cells.append(self._cell)
        self._script = tag == "script" and dict(attrs).get("id") == "figures"

    def handle_endtag(self, tag):
        self._script = False
        if tag in ("td", "th"):
            self._cell = None

    def handle_data(self, data):
        if self._script:
            self._json.append(data)
        elif self._cell:
            self._cell[1] += data


def test_the_page_has_the_figures_of_its_files(run_parity, tmp_path):
    runs = [write_run(tmp_path / name, name) for name in ("jaxnets", "torchnets")]
    code, out, err = run_parity("report", "--out", "r", "--checks", write_checks(tmp_path / "c.json"), *runs)
    assert (code, err) == (0, "")
    page = Page(tmp_path / "r/index.html")
    assert page.figures == json.loads((tmp_path / "r/report.json").read_text())
    assert page.figures["checks"]["reports"] == reports()
    assert page.figures["checks"]["layers"] == layers()
    shown = [cell for cell in page.cells if "data-check" in cell[0]]
    expected = [(check, report) for report in reports() for check in report["checks"]]
    assert len(shown) == len(expected)
    for check, report in expected:
        error = "Infinity" if check["error"] is None else repr(check["error"])
        words = "inf" if check["error"] is None else "0" if check["error"] == 0 else f"{check['error']:.1e}"
        mark = "✗" if report["failures"] and check["check"] == "forward, eval" else "✓"
        bound = "exact" if check["bound"] == 0 else f"{check['bound']:.0e}"
        found = [c for c in shown if (c[0]["data-check"], c[0]["data-sort"]) == (check["check"], error)]
        assert f"{words}{mark} {bound}" in [text for _, text in found]
    measured = {(way, float(c[0][f"data-{way}"])) for c in page.cells for way in checks.WAYS if f"data-{way}" in c[0]}
    rows = layers()["lenet5"]["layers"]
    assert measured == {(way, row[way]["error"]) for row in rows for way in checks.WAYS if row[way]}
    # Both losses of every step with all digits, and the last accuracy of both frameworks.
    assert {"0.4000000000000001", "0.4", "2.50e-16"} <= {text for _, text in page.cells}
    assert "Flax, test: 80.00%" in page.text
    assert "PyTorch, test: 81.00%" in page.text
    assert [run["splits"]["test"]["loss"] for run in page.figures["trainings"]["runs"]] == [[2.0, 1.0, None]] * 2
    assert "3 networks: 7 checks hold, 1 fail" in page.text
    # A name or a diagnosis is text, never a tag.
    assert "fc&lt;1&gt;" in page.text
    assert "</script> instead" not in page.text
    assert "layers: c.json has none of inception" in out.replace(f"{tmp_path}/", "")
    assert "networks: c.json has none of mlp;" in out.replace(f"{tmp_path}/", "")
    assert page.text.count('<p class="missing">') == 3  # networks, layers, steps
    assert out.count("\n") == 4  # these and the page
    assert "http" not in re.sub(r'<script type="application/json".*?</script>', "", page.text, flags=re.DOTALL)


def test_without_options_it_shows_the_results_of_this_project(run_parity, tmp_path):
    code, out, _ = run_parity("report", "--out", "r")
    assert code == 0
    page, path = Page(tmp_path / "r/index.html"), tmp_path / "r/index.html"
    assert path.stat().st_size < 2_000_000
    assert page.text.isascii() or "charset" in page.text[:200]
    # Each file says in words how many bugs it has: its table has as many rows.
    for table in page.figures["planted"]:
        counted = next(
            int(found[1]) for text in table["about"] if (found := re.match(r"(\d+) (?:of \d+ )?bugs", text))
        )
        assert len(table["rows"]) == counted, table["title"]
        assert {len(row) for row in table["rows"]} == {len(table["columns"])}
    texts = {text for _, text in page.cells}
    for row in (row for found in page.figures["planted"] for row in found["rows"]):
        assert set(row) <= texts
        assert "**" not in "".join(row)  # no Markdown
    for path in sorted(RESULTS.glob("bench-*.json")):
        for network in json.loads(path.read_text())["networks"]:
            for name in throughput.TASKS:
                table = network["tables"][name]
                series = [table[side] for side in throughput.SIDES]
                for one in series:
                    assert f"{one['median']:,.0f}{one['low']:,.0f} to {one['high']:,.0f}" in texts
    assert "AMD EPYC, x86_64, 2 cores" in page.text
    assert "NVIDIA H200" in page.text
    known = json.loads(trainings.RECIPES.read_text())["runs"]
    for run in page.figures["trainings"]["runs"]:
        accuracies = {split: of["accuracy"] for split, of in run["splits"].items()}
        assert any(
            (r["run"], r["framework"], r["accuracy"]) == (run["what"], run["framework"], accuracies) for r in known
        )
        assert f", test: {100 * accuracies['test'][-1]:.2f}%" in page.text
    assert "training curves of resnet18-cifar10-adam: torchnets is missing" in out


def test_what_is_missing_is_said(run_parity, tmp_path, monkeypatch):
    for module in (planted, throughput):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr("parity.overview.gather.NETWORKS", tmp_path / "parity-cpu.json")
    monkeypatch.setattr(trainings, "RECIPES", tmp_path / "none.json")
    code, out, err = run_parity("report", "--out", "r")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert [line.partition(":")[0] for line in lines[:-1]] == [
        "checks, layers, trajectories",
        "planted bugs",
        "training curves",
        "throughput",
    ]
    text = (tmp_path / "r/index.html").read_text()
    assert text.count('<p class="missing">') == 4


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (("nowhere",), "nowhere: no such run folder"),
        (("plain",), "plain: no run folder, it has no config.json"),
        (("begun",), "begun/summary.json: cannot be read"),
        (("broken",), "broken/metrics.jsonl: a line is not that of an epoch"),
        (("--checks", "none.json"), "none.json: cannot be read"),
        (("--checks", "text.json"), "text.json: not JSON"),
        (("--checks", "list.json"), "list.json: not what parity check --json writes"),
        (("--checks", "steps.json"), "steps.json: not what parity check --json writes"),
        (("--checks", "layers.json"), "layers.json: 'layers' is not what parity report writes"),
        (("--bench", "list.json"), "list.json: not what parity bench --json writes"),
        (("--networks", "lenet"), "unknown model 'lenet'. Did you mean 'lenet5'"),
    ],
)
def test_what_cannot_be_shown_is_refused_in_one_line(argv, words, run_parity, tmp_path):
    (tmp_path / "plain").mkdir()
    (write_run(tmp_path / "begun", "jaxnets") / "summary.json").unlink()
    (write_run(tmp_path / "broken", "jaxnets") / "metrics.jsonl").write_text('{"epoch": 1}\n')
    (tmp_path / "text.json").write_text("no")
    (tmp_path / "list.json").write_text('[{"name": "x"}]')
    steps = reports()
    steps[0]["checks"][2]["steps"]["jax"].pop()
    (tmp_path / "steps.json").write_text(json.dumps(steps))
    (tmp_path / "layers.json").write_text(json.dumps({"reports": reports(), "layers": {"lenet5": {}}}))
    code, out, err = run_parity("report", "--out", "r", *argv)
    assert (code, out) == (1, "")
    assert words in err
    assert "\n" not in err
    assert not (tmp_path / "r").exists()


def test_only_a_page_of_its_own_is_replaced(run_parity, tmp_path):
    write_checks(tmp_path / "c.json")
    for _ in range(2):
        assert run_parity("report", "--out", "r", "--checks", "c.json")[0] == 0
    (tmp_path / "r/index.html").write_text("mine")
    code, _, err = run_parity("report", "--out", "r", "--checks", "c.json")
    assert (code, "is not overwritten" in err) == (1, True)
    assert (tmp_path / "r/index.html").read_text() == "mine"
    code, _, err = run_parity("report", "--out", "c.json", "--checks", "c.json")
    assert (code, err) == (1, "error: c.json: not a folder")


def test_axes_have_round_ticks_around_the_values():
    assert linear("", [0.695, 0.714]).ticks == pytest.approx((0.695, 0.7, 0.705, 0.71, 0.715))
    assert linear("", [3, 3]).low < 3 < linear("", [3, 3]).high
    assert linear("", [1, 10], whole=True).ticks == (2, 4, 6, 8, 10)
    axis = logarithmic("", [0.0, 3e-16, 2e-12])
    assert (axis.low, axis.high) == (-17, -11)
    assert axis.share(0.0) == 0 < axis.share(3e-16) < axis.share(2e-12) < 1
    points = [(float(x), float(x)) for x in range(5001)]
    assert thinned(points)[-1] == points[-1]
    assert len(thinned(points)) <= 402
    gap = chart("t", [Line("a", "flax", [(1, 1.0), (2, None), (3, 2.0)])], "x", "y")
    assert re.search(r'<path d="M[\d. ]+M[\d. ]+"/>', gap)  # a gap is no line


@pytest.mark.slow
def test_networks_are_measured_and_runs_are_read(run_parity, run_main, tmp_path):
    for framework in trainings.FRAMEWORKS:
        options = ("--model", "mlp", "--dataset", "digits", "--epochs", 2, "--out", framework)
        assert run_main(f"{framework}.train", *options)[0] == 0
    code, out, err = run_parity("report", *trainings.FRAMEWORKS, "--out", "r", "--networks", "mlp", "mlp")
    assert (code, err, out.splitlines()[:-1]) == (0, "", ["mlp: same"])
    figures = Page(tmp_path / "r/index.html").figures
    (report,) = figures["checks"]["reports"]
    assert (report["name"], report["verdict"]) == ("mlp", "same")
    assert {"date", "machine", "versions"} == figures["checks"]["source"].keys()
    rows = figures["checks"]["layers"]["mlp"]["layers"]
    assert {"fc_0", "output"} <= {row["layer"] for row in rows}
    assert all(row[way]["error"] <= row[way]["bound"] for row in rows for way in checks.WAYS if row[way])
    for run in figures["trainings"]["runs"]:
        lines = (tmp_path / run["folder"] / "metrics.jsonl").read_text().splitlines()
        for row in map(json.loads, lines):
            of_split = run["splits"][row["split"]]
            at = of_split["epoch"].index(row["epoch"])
            assert (of_split["loss"][at], of_split["accuracy"][at]) == (row["loss"], row["accuracy"])
    # Its figures are what --checks takes, layers and all.
    assert run_parity("report", "--out", "again", "--checks", "r/report.json")[0] == 0
    again = Page(tmp_path / "again/index.html").figures["checks"]
    assert (again["reports"], again["layers"]) == (figures["checks"]["reports"], figures["checks"]["layers"])
