"""The documentation names files, links, tests, commands and options that exist, and its pages stay short."""

import contextlib
import io
import re
import runpy
import sys
from dataclasses import fields
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import parity
from experiment.config import Config

ROOT = Path(__file__).resolve().parents[1]
PAGES = [path for path in (*sorted(ROOT.glob("*.md")), *sorted(ROOT.glob("docs/*.md"))) if path.name != "CHANGELOG.md"]
LESSONS = sorted(ROOT.glob("docs/lessons/**/*.py"))
README = (ROOT / "README.md").read_text()
LINES = {"README.md": 130, "CONTRIBUTING.md": 60}  # other pages: 150
LINK = re.compile(r"\]\(([^)\s]+)\)")
FILE = re.compile(r"`([\w*.-]+/[\w*./-]+\.(?:py|md|json|png|toml|txt|sh))`")
FENCED = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
OPTION = re.compile(r"(?<![\w-])--[a-zA-Z][\w-]*")
COMMAND = re.compile(r"\bpython (?:-m ([\w.]+)|(\w+/\w+\.py))(?: ([a-z][a-z-]*))?")
COMMANDS_OF_COMMANDS = ("parity", "data")  # these take one: parity check, data download
LAUNCHERS = {
    "--nproc-per-node",
    "--ntasks",
    "--ntasks-per-node",
    "--gpus-per-node",
    "--hostfile",
}  # torchrun, srun, mpirun

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pages
def test_a_page_is_short(page):
    assert page.read_text().count("\n") <= LINES.get(page.name, 150)


@pages
def test_links_lead_to_a_file_and_a_heading(page):
    for target in LINK.findall(page.read_text()):
        name, _, anchor = target.partition("#")
        if not name.startswith(("http:", "https:")):
            path = page.parent / name if name else page
            assert path.exists(), target
            assert not anchor or anchor in _anchors(path), target


@pytest.mark.parametrize("page", [*PAGES, *LESSONS], ids=lambda page: page.name)
def test_files_exist(page):
    assert [name for name in FILE.findall(page.read_text()) if not any(ROOT.glob(name))] == []


@pages
def test_tests_exist(page):
    tests = "".join(path.read_text() for path in ROOT.glob("tests/test_*.py"))
    assert [name for name in re.findall(r"`(test_\w+)`", page.read_text()) if f"def {name}(" not in tests] == []


@pages
def test_commands_have_the_options_that_they_are_given(page):
    for code in _code(page):
        for found in COMMAND.finditer(code):
            module, file, word = found.groups()
            if file or (ROOT / module.split(".")[0]).is_dir():
                options = _options(module, file, word if module in COMMANDS_OF_COMMANDS else None)
                rest = COMMAND.split(code[found.end() :])[0]
                assert set(OPTION.findall(rest)) <= options, code


@pages
def test_every_option_is_that_of_a_command(page):
    known = LAUNCHERS | set(re.findall(r'addoption\(\s*"(--[\w-]+)"', (ROOT / "tests/conftest.py").read_text()))
    for module, file, word in _commands():
        known |= _options(module, file, word)
    known |= {f"--no-{field.name.replace('_', '-')}" for field in fields(Config) if field.type is bool}
    assert [name for name in OPTION.findall(page.read_text()) if name not in known and "--xla_" not in name] == []


def test_every_option_of_the_trainer_is_documented():
    documented = {option for page in PAGES for option in OPTION.findall(page.read_text())}
    assert _options("jaxnets.train", None, None) - documented <= {"--help"}


def test_ci_finds_its_two_commands_in_the_readme():
    blocks = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert ["python -m jaxnets.train" in block for block in blocks] == [True, False]
    assert ["/pytest " in block for block in blocks] == [False, True]


def test_the_example_port_fails_as_the_readme_says():
    said = re.search(r"^\.\.\. (forward, eval fails at pool_1 .+?): its input is", README, re.MULTILINE | re.DOTALL)
    assert said
    ours, theirs = (runpy.run_path(str(ROOT / "docs/port" / name))["Net"] for name in ("my_torch.py", "my_flax.py"))
    inputs = np.random.default_rng(0).normal(size=(4, 6, 6, 3))
    failure = parity.check(ours(), theirs(), inputs, fail_fast=True).failures[0]
    found = f"{failure.check} fails at {failure.layer} ({failure.stage}): {failure.diagnosis}"
    assert found.startswith(re.sub(r"\s+", " ", said[1]))


def test_the_pages_name_commands_of_every_kind():
    found = {(module or file, word) for module, file, word in _commands()}
    for known in (("parity", "check"), ("data", "download"), ("benchmarks/loader_profile.py", None)):
        assert known in found
    assert len(found) > 20


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _code(page: Path) -> list[str]:
    """Return the lines of a page's blocks of code, without comments, and its code within lines."""
    text = page.read_text()
    lines = [line.partition("  #")[0] for block in FENCED.findall(text) for line in block.splitlines()]
    return lines + [code.replace("\n", " ") for code in re.findall(r"`([^`]+)`", FENCED.sub("", text))]


@cache
def _commands() -> list[tuple[str | None, str | None, str | None]]:
    """Return each command of this project that a page names: a module or a file, and the command of a command."""
    found = {match.groups() for page in PAGES for code in _code(page) for match in COMMAND.finditer(code)}
    ours = [each for each in found if each[1] or (ROOT / str(each[0]).split(".")[0]).is_dir()]
    return sorted(
        {(module, file, word if module in COMMANDS_OF_COMMANDS else None) for module, file, word in ours}, key=str
    )


@cache
def _options(module: str | None, file: str | None, word: str | None) -> set[str]:
    """Return the options that the --help of a command lists."""
    argv, out = [file or module or "", *([word] if word else []), "--help"], io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(out):
        patch.setattr("sys.argv", argv)
        patch.setenv("COLUMNS", "200")
        patch.delitem(sys.modules, str(module), raising=False)  # run as a program, though a test may have imported it
        patch.delitem(sys.modules, f"{module}.__main__", raising=False)
        with pytest.raises(SystemExit) as stop:
            _run(module, file)
    assert not stop.value.code, f"{' '.join(argv)}: {stop.value.code}"
    return set(OPTION.findall(out.getvalue()))


def _run(module: str | None, file: str | None) -> None:
    if file:
        runpy.run_path(str(ROOT / file), run_name="__main__")
    else:
        runpy.run_module(str(module), run_name="__main__")
