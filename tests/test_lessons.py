"""The lessons: solutions pass their checks and typical mistakes do not; sources are shown from the real modules."""

import ast
import builtins
import importlib.util
import re
import runpy
import sys
from pathlib import Path
from types import ModuleType

import pytest

import jaxnets.step
import torchnets.step

LESSONS = Path(__file__).resolve().parents[1] / "docs/lessons"


def _module(name: str) -> ModuleType:
    """Return a module of the lessons' folder, which is the folder of the program when a lesson runs."""
    spec = importlib.util.spec_from_file_location(name, LESSONS / f"{name}.py")
    assert spec
    assert spec.loader
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


show, exercises = _module("show"), _module("exercises")
EXERCISES = [
    pytest.param(exercise, id=f"{path.stem}-{number}", marks=[pytest.mark.slow] if exercise.slow else [])
    for path in sorted((LESSONS / "solutions").glob("*.py"))
    for number, exercise in enumerate(exercises.exercises(int(path.stem[:2])), 1)
]


@pytest.mark.parametrize("exercise", EXERCISES)
def test_a_solution_is_right_and_a_mistake_is_found(exercise):
    exercise.check(exercise.solution)
    for mistake in filter(None, (exercise.mistake, exercise.another)):
        with pytest.raises(AssertionError, match=r"\w+ \w+"):  # a sentence that helps
            exercise.check(mistake)


def test_check_says_which_answer_is_right(capsys):
    exercises.check(1, 1, exercises.exercises(1)[0].solution)
    assert capsys.readouterr().out == "lesson 1, exercise 1: right\n"


def test_every_lesson_has_exercises_and_shows_their_solutions():
    lessons = sorted(path.stem for path in LESSONS.glob("[0-9]*.py"))
    assert lessons == sorted(path.stem for path in (LESSONS / "solutions").glob("*.py"))
    for name in lessons:
        text = (LESSONS / f"{name}.py").read_text()
        assert f'solutions("{name}")' in text
        for part in ("You will be able to", "## Exercises", "picture("):
            assert part in text, f"{name}: {part}"


def test_sources_stand_side_by_side(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "250")
    show.side_by_side(jaxnets.step.eval_step, torchnets.step.eval_step)
    wide = capsys.readouterr().out
    assert "return model.apply(variables, inputs, train=False)" in wide
    assert any(
        line.startswith('    """Return logits') and line.count("Return logits") == 2 for line in wide.splitlines()
    )
    monkeypatch.setenv("COLUMNS", "80")
    show.side_by_side(jaxnets.step.eval_step, torchnets.step.eval_step)
    narrow = capsys.readouterr().out
    assert narrow.index("model.apply(") < narrow.index("torchnets/step.py") < narrow.index("functional_call(")


def test_words_that_differ_are_marked():
    left, right = (show._lines(text) for text in ("a = one(x)  # now", "a = two(x)  # then"))
    ((ours, theirs),) = show._aligned(left, right)
    assert show._cell(ours, theirs).count("class='d'") == 1
    assert "<span class='d'>one</span>" in show._cell(ours, theirs)
    assert "<span class='c d'>then</span>" in show._cell(theirs, ours)
    assert "".join(text for text, _ in ours) == "a = one(x)  # now"


@pytest.mark.parametrize("lesson", sorted(LESSONS.glob("[0-9]*.py")), ids=lambda path: path.stem)
def test_the_code_on_the_page_needs_no_hidden_cell(lesson):
    cells = [cell.partition("\n") for cell in re.split(r"^# %%", lesson.read_text(), flags=re.MULTILINE)]
    codes = [code for kind, _, code in cells[1:] if "markdown" not in kind]
    assert [code for code in codes if re.search(r"^# #", code, flags=re.MULTILINE)] == []  # a heading is no code
    seen = ast.parse(
        "\n".join(code for kind, _, code in cells if "markdown" not in kind and "remove-input" not in kind)
    )
    known = set(dir(builtins))
    for node in ast.walk(seen):
        if isinstance(node, ast.Import | ast.ImportFrom):
            known |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            known.add(node.name)
        elif isinstance(node, ast.arg):
            known.add(node.arg)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            known.add(node.id)
    used = {node.id for node in ast.walk(seen) if isinstance(node, ast.Name)}
    assert used <= known, f"defined in a hidden cell: {sorted(used - known)}"


def test_faults_of_a_site_are_found(tmp_path):
    faults = runpy.run_path(str(LESSONS.parent / "site/check.py"))["faults"]
    (tmp_path / "a.html").write_text('<a href="b.html#here">b</a><img src="x.png"><p id="top"></p>')
    (tmp_path / "b.html").write_text('<a href="a.html#top">a</a><p id="here"></p>')
    (tmp_path / "x.png").touch()
    assert faults(tmp_path) == []
    (tmp_path / "c.html").write_text(
        '<script src="https://example.org/x.js"></script><a href="a.html#low">a</a><a href="d.html">d</a>'
        '<a href="https://example.org">elsewhere</a>'
    )
    (tmp_path / "c.css").write_text("@font-face { src: url(https://example.org/x.woff) }")
    found = [fault.partition(": ")[2] for fault in faults(tmp_path)]
    assert found == [
        "loads https://example.org/x.js",
        "no anchor a.html#low",
        "no file d.html",
        "loads from a network",
    ]
