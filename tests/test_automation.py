"""What a program is told of a pair: JSON, ten lines, an exit status; and the loop of docs/automation.md."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from parity.report import Failure, Report, Result
from parity.report.brief import brief
from parity.report.compare import Values
from parity.report.page import page
from parity.trace.lines import Line

ROOT = Path(__file__).resolve().parents[1]
TORCH = """\
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc1, self.norm, self.fc2 = nn.Linear(6, 8), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, x):
        x = F.gelu(self.fc1(x))
        x = self.norm(x)
        return self.fc2(x)
"""
JAX = """\
from flax import linen as nn


class Net(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.gelu(nn.Dense(8)(x))
        x = nn.LayerNorm()(x)
        return nn.Dense(3)(x)
"""
EDITS = {  # what a language model would do: by what is said of the line
    "GELU": ("nn.gelu(nn.Dense(8)(x))", "nn.gelu(nn.Dense(8)(x), approximate=False)"),
    "epsilon": ("nn.LayerNorm()", "nn.LayerNorm(epsilon=1e-5)"),
}
SAME = JAX.replace(*EDITS["GELU"]).replace(*EDITS["epsilon"])


def edit(line: str, first: dict) -> str:
    word = next(word for word in EDITS if word in first["cause"])
    return line.replace(*EDITS[word])


def loop() -> dict:
    """The functions of the page."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs/automation.md").read_text(), re.DOTALL)
    names: dict = {}
    exec("\n".join(blocks), names)
    return names


@pytest.fixture
def pair(tmp_path):
    """Write a pair with the given JAX file: -> the arguments of check."""

    def write(jax: str) -> tuple[str, str, str]:
        (tmp_path / "my_torch.py").write_text(TORCH)
        (tmp_path / "my_flax.py").write_text(jax)
        return f"{tmp_path}/my_torch.py:Net", f"{tmp_path}/my_flax.py:Net", "4,6"

    return write


def test_the_loop_of_the_page_mends_a_port(pair, run_parity, tmp_path):
    names, reports = loop(), []

    def check(torch_target: str, jax_target: str, shape: str) -> dict:
        for name in [n for n in sys.modules if n.endswith("my_flax") or "my_flax_" in n]:
            del sys.modules[name]
        code, out, err = run_parity("check", torch_target, jax_target, "--input", shape, "--json", "-")
        assert err == ""
        reports.append(json.loads(out)[0])
        assert reports[-1]["status"] == code
        return reports[-1]

    names["check"] = check
    wrong = pair(JAX.replace(*EDITS["epsilon"]))
    assert names["port"](*wrong, edit)["verdict"] == "same"
    assert (tmp_path / "my_flax.py").read_text() == SAME
    first, last = reports
    assert (first["schema"], first["stage"], first["status"]) == ("parity-report/1", "forward", 1)
    assert first["first"]["torch_line"] == {
        "file": str(tmp_path / "my_torch.py"),
        "line": 11,
        "text": "x = F.gelu(self.fc1(x))",
    }
    assert (first["first"]["jax_line"]["line"], first["first"]["layer"]) == (7, "norm")
    assert first["first"]["values"]["torch"] != first["first"]["values"]["jax"]
    assert "my_flax.py:7" in first["first"]["try"]
    assert (last["first"], last["failures"], last["message"]) == (None, [], None)
    assert last.keys() == first.keys()


def test_what_cannot_be_checked_has_its_own_status_and_report(pair, run_parity, tmp_path):
    torch_target, jax_target, shape = pair("1 / 0\n")
    for argv in ((torch_target, jax_target, "--input", shape), (torch_target, "--input", shape)):
        code, out, err = run_parity("check", *argv, "--json", tmp_path / "r.json", "--brief")
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        (report,) = json.loads((tmp_path / "r.json").read_text())
        assert (report["verdict"], report["status"], report["ok"], report["first"]) == ("unchecked", 2, False, None)
        assert f"error: {report['message']}" == err


def test_what_a_file_prints_is_no_part_of_the_report(pair, run_parity):
    torch_target, jax_target, shape = pair(SAME.replace("        return", "        print('hello')\n        return"))
    for option in (("--json", "-"), ("--brief",)):
        code, out, err = run_parity("check", torch_target, jax_target, "--input", shape, *option)
        assert code == 0, err
        assert "hello" in err
        assert "hello" not in out
    assert out.startswith("same: ")


def failed(count: int = 1, **more) -> Report:
    line = Line(str(ROOT / "tests/own_torch.py"), 25)
    failure = Failure("forward, eval", "forward", "fc1", 1e-3, 1e-13, "x at 0x7f00aa", None, line, line, **more)
    return Report("mine", tuple(Result("forward, eval", 1e-3, 1e-13, "fc1", "", failure) for _ in range(count)))


def test_brief_has_ten_lines_at_most_and_no_address():
    text = brief([failed(20, values=Values((0, 1), 1.0, float("nan")), cause="GELU by tanh")])
    assert 5 < len(text.splitlines()) <= 10
    assert text.startswith("different: mine: 0 checks hold, 20 fail\nstage: forward")
    assert "values: at [0, 1] PyTorch has 1, Flax nan" in text
    assert "0x7f" not in brief([failed()])
    many = brief([failed()._replace(name=f"net{i}") for i in range(20)])
    assert len(many.splitlines()) == 10
    assert many.splitlines()[-1] == "and 12 more"


def test_json_holds_what_json_can_say():
    report = failed(values=Values((0, 1), 1.0, float("nan"))).to_json()
    assert json.loads(json.dumps(report, allow_nan=False))["first"]["values"] == {
        "at": [0, 1],
        "torch": 1.0,
        "jax": "nan",
    }
    assert report["first"]["diagnosis"] == "x"
    assert report["first"]["try"] == "let tests/own_torch.py:25 compute what tests/own_torch.py:25 computes"


def test_the_page_marks_the_line_of_both_sides_and_needs_nothing_else():
    text = page(failed())
    assert text.count('class="at"') == 2
    assert re.search(r'data-n="25" class="at">[^\n<]*self.point', text)
    assert '<span class="k">class</span> Net' in text
    assert "prefers-color-scheme: dark" in text
    assert 'id="first"' in text
    assert not re.search(r"https?://|<link|src=", text)


@pytest.mark.slow
def test_the_loop_runs_as_it_stands_and_kept_programs_are_never_stale(pair, tmp_path, monkeypatch):
    for name, value in {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PYTHONPATH": str(ROOT)}.items():
        monkeypatch.setenv(name, value)
    for name in [name for name in os.environ if name.startswith("JAX_")]:
        monkeypatch.delenv(name)
    names = loop()
    assert names["port"](*pair(JAX), edit)["verdict"] == "same"
    kept = {path.name for path in (tmp_path / "cache").rglob("*-cache")}
    assert kept
    # A file that the JAX file imports: nothing of what is kept may answer for it.
    (tmp_path / "own_scale.py").write_text("SCALE = 1.0\n")
    scaled = pair(SAME.replace("return nn.Dense(3)(x)", "return nn.Dense(3)(x) * own_scale.SCALE"))
    (tmp_path / "my_flax.py").write_text("import own_scale\n" + (tmp_path / "my_flax.py").read_text())
    assert names["check"](*scaled)["verdict"] == "same"
    before = {path.name for path in (tmp_path / "cache").rglob("*-cache")}
    command = [sys.executable, "-m", "parity", "check", *scaled[:2], "--input", scaled[2], "--brief"]
    outputs = {subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(2)}
    assert len(outputs) == 1
    assert {path.name for path in (tmp_path / "cache").rglob("*-cache")} == before  # nothing was compiled again
    (tmp_path / "own_scale.py").write_text("SCALE = 1.5\n")
    assert names["check"](*scaled)["verdict"] == "different"
