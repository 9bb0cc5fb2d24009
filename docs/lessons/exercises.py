"""Exercises of the lessons: `check(1, 2, answer)` says whether an answer to exercise 2 of lesson 1 is right.

`docs/lessons/solutions/01_data.py` and so on have EXERCISES, in the order of the lesson. `tests/test_lessons.py` runs
them: each solution must pass its check, and a typical mistake must not.
"""

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

SOLUTIONS = Path(__file__).parent / "solutions"


class Exercise(NamedTuple):
    """An exercise of a lesson."""

    solution: Callable[..., Any]
    check: Callable[[Callable[..., Any]], None]  # raises AssertionError, with a sentence that says what is wrong
    mistake: Callable[..., Any]  # a typical wrong answer, which the check refuses
    another: Callable[..., Any] | None = None  # a second one
    slow: bool = False  # the check takes more than two seconds


def exercises(lesson: int) -> list[Exercise]:
    """Return the exercises of a lesson."""
    (path,) = SOLUTIONS.glob(f"{lesson:02}_*.py")
    return runpy.run_path(str(path))["EXERCISES"]


def check(lesson: int, number: int, answer: Callable[..., Any]) -> None:
    """Check an answer to an exercise; print a line if it is right, raise AssertionError if not."""
    exercises(lesson)[number - 1].check(answer)
    print(f"lesson {lesson}, exercise {number}: right")
