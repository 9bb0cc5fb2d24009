"""Commands work in any folder; where a file of the user's hides a package, one line says so."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from experiment.cli.console_scripts import COMMANDS, main, module_command
from experiment.recipes import recipes

ROOT = Path(__file__).parents[1]
PACKAGES = ("jaxnets", "torchnets", "parity", "data", "experiment")
HIDING = ("data.py", "data/__init__.py", "experiment.py", "parity.py", "jaxnets.py", "torchnets.py")
SCRIPTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]


def run(folder: Path, *argv: object, path: Sequence[Path] = (ROOT,)) -> tuple[int, str, str]:
    variables = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, path)), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *map(str, argv)]
    done = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def console_script(name: str, folder: Path) -> Path:
    """Write what an installation makes of an entry in [project.scripts]."""
    module, function = SCRIPTS[name].split(":")  # such as "jaxnets.__main__:main"
    script = folder / name
    script.write_text(f"import sys\nfrom {module} import {function}\nsys.exit({function}())\n")
    return script


def write(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("X = 1\n")
    return folder


def hidden(file: Path) -> str:
    found = file.parent if file.name == "__init__.py" else file
    return f"{found} hides the package `{found.stem}` of jaxnets: rename it, or "


def refusal(file: Path) -> str:
    scripts = "`jaxnets train`, `torchnets train` or `parity check`"
    return f"error: {hidden(file)}run {scripts} instead of `python -m`\n"


def test_each_command_has_the_same_copy_of_the_check():
    copies = {(ROOT / package / "hidden_packages.py").read_bytes() for package in SCRIPTS}
    assert len(copies) == 1


@pytest.mark.parametrize("module", ["jaxnets.train", "torchnets.evaluate", "jaxnets", "parity"])
@pytest.mark.parametrize("file", ["data.py", "data/__init__.py", "experiment.py"])
def test_python_m_says_in_one_line_which_file_hides_a_package(file, module, tmp_path):
    assert run(write(tmp_path, file), "-m", module, "--help") == (1, "", refusal(tmp_path / file))


@pytest.mark.parametrize("file", ["jaxnets.py", "torchnets.py"])
def test_parity_says_in_one_line_that_a_file_hides_a_framework(file, tmp_path):
    assert run(write(tmp_path, file), "-m", "parity", "--help") == (1, "", refusal(tmp_path / file))


@pytest.mark.parametrize("package", ["jaxnets", "torchnets", "parity"])
def test_a_program_of_the_users_gets_an_import_error(package, tmp_path):
    code, _, err = run(write(tmp_path, "data.py"), "-c", f"import {package}")
    line = f"ImportError: {hidden(tmp_path / 'data.py')}take {tmp_path} off the import path (PYTHONPATH)\n"
    assert (code, err.startswith("Traceback"), err.endswith(line)) == (1, True, True)


def test_a_console_script_says_that_a_file_on_the_import_path_hides_a_package(tmp_path):
    script = console_script("torchnets", tmp_path)
    folder = write(tmp_path / "mine", "experiment.py")
    line = f"error: {hidden(folder / 'experiment.py')}take {folder} off the import path (PYTHONPATH)\n"
    assert run(tmp_path, script, "train", "--help", path=(folder, ROOT)) == (1, "", line)


def test_python_m_works_beside_folders_of_the_same_names(tmp_path):
    write(tmp_path, "data/MNIST/raw", "experiment/notes.txt", "recipes/__init__.py", "recipes/own.json", "parity/bits")
    code, out, err = run(tmp_path, "-m", "jaxnets.train", "--list-recipes")
    assert (code, err, len(out.splitlines())) == (0, "", len(recipes()))
    assert run(tmp_path, "-m", "parity", "convert", "--help")[::2] == (0, "")
    assert run(write(tmp_path, "parity.py"), "-m", "torchnets", "data", "list")[::2] == (0, "")


def test_console_scripts_work_beside_files_that_hide_every_package(tmp_path):
    folder = write(tmp_path / "mine", *HIDING, "recipes/__init__.py")
    for name in ("jaxnets", "torchnets"):
        script = console_script(name, tmp_path)
        code, out, err = run(folder, script, "train", "--list-recipes")
        assert (code, err, len(out.splitlines())) == (0, "", len(recipes()))
    assert run(folder, console_script("parity", tmp_path), "convert", "--help")[::2] == (0, "")
    code, out, err = run(folder, tmp_path / "jaxnets", "data", "list")
    assert (code, err, out.startswith("cifar10")) == (0, "", True)


def test_a_folder_that_holds_another_checkout_works_as_that_one(tmp_path):
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    recipe = tmp_path / "experiment/recipes/lenet5-plain.json"
    recipe.rename(recipe.with_name("of-this-checkout.json"))
    code, out, err = run(tmp_path, "-m", "torchnets.train", "--list-recipes")
    assert (code, err) == (0, "")
    assert "of-this-checkout " in out
    assert "lenet5-plain " not in out


@pytest.mark.parametrize("framework", ["jaxnets", "torchnets"])
def test_help_lists_the_commands_and_imports_nothing_else(framework, tmp_path):
    code = f"""
import sys
from {framework}.__main__ import main
sys.argv = ["{framework}", "--help"]
try:
    main()
finally:
    print(sorted({{"numpy", "jax", "torch", "data"}} & set(sys.modules)))
"""
    status, out, err = run(tmp_path, "-c", code)
    assert (status, err) == (0, "")
    assert out.startswith(f"usage: {framework} COMMAND ...")
    assert out.endswith("[]\n")
    width = 2 + max(map(len, COMMANDS))
    for name, about in COMMANDS.items():
        assert f"  {name:{width}}{about}\n" in out


def test_a_command_that_does_not_exist(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["jaxnets", "trian"])
    with pytest.raises(SystemExit) as stop:
        main("jaxnets")
    assert stop.value.code == 2
    assert "'trian'" in capsys.readouterr().err


def test_a_child_searches_the_current_folder_if_its_parent_does(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    child = ("-m", "jaxnets.train", "--epochs", "1")
    monkeypatch.setattr("sys.path", ["/elsewhere"])
    assert module_command(*child[1:]) == [sys.executable, "-P", *child]
    for here in ("", str(tmp_path)):
        monkeypatch.setattr("sys.path", [here, "/elsewhere"])
        assert module_command(*child[1:]) == [sys.executable, *child]


def test_the_wheel_holds_the_packages_and_the_sdist_what_they_are_built_of(tmp_path):
    expected = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {f"experiment/recipes/{name}.json" for name in recipes()} <= expected
    command = ("-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", tmp_path)
    code, _, err = run(ROOT, *command)
    assert code == 0, err
    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    info = {name for name in names if ".dist-info/" in name}
    assert names - info == expected
    assert {name.split(".dist-info/")[1] for name in info} == {
        *("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    }
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    beside = {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "constraints.txt", ".gitignore", "PKG-INFO"}
    assert names == expected | beside
