"""What two lessons show beside their code: the table of all traps, and commands."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROW = re.compile(r"^(?:# )?\| (\d+) \|", re.MULTILINE)


def test_the_lesson_on_traps_has_every_numbered_trap():
    numbers = ROW.findall((ROOT / "docs/traps.md").read_text())
    assert len(numbers) > 30
    assert ROW.findall((ROOT / "docs/lessons/11_traps.py").read_text()) == numbers


def test_a_command_of_a_lesson_must_end_as_it_says(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("terminal", ROOT / "docs/lessons/terminal.py")
    assert spec
    assert spec.loader
    terminal = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(terminal)
    terminal.run("python -m parity convert nothing a.pth b.pth", tmp_path, status=1)
    assert "nothing" in capsys.readouterr().out
    with pytest.raises(RuntimeError, match="ended with status 1, expected 0"):
        terminal.run("python -m parity convert nothing a.pth b.pth", tmp_path)
    with pytest.raises(ValueError, match="expected python -m MODULE"):
        terminal.run("rm -r nothing", tmp_path)
