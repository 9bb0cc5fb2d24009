"""The terminal is no part of a run: closed, full, gone or narrow in its encoding, it neither ends nor harms it."""

import errno
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image

from data import UserError
from data.terminal import printable, terminal
from experiment.arguments import parse_arguments
from experiment.config import Config
from experiment.console import make_console, shows_progress
from experiment.loop.monitor import Monitor
from experiment.runs import plots

FRAMEWORKS = ("jaxnets", "torchnets")
QUICK = "--model mlp --batch-size 300 --epochs 2 --out run"
NAMES = ("noir", "gr\xfcn", "\u732b[red]", "$\\foo$", ":dog:", b"l\xfcft".decode(errors="surrogateescape"))


class Failing(io.StringIO):
    """A stream that cannot be written."""

    def __init__(self, number: int):
        super().__init__()
        self.number = number

    def write(self, _: str) -> int:
        raise OSError(self.number, os.strerror(self.number))


@pytest.fixture
def broken(monkeypatch) -> Iterator[Callable[[str], None]]:
    """Make standard output one that fails: a pipe whose reader has gone, a terminal that has hung up, a full disk."""
    with ExitStack() as stack:

        def replace(kind: str) -> None:
            if kind == "pipe":
                reader, writer = os.pipe()
                os.close(reader)
                stream = stack.enter_context(os.fdopen(writer, "w"))
            else:
                stream = stack.enter_context(Path("/dev/full").open("w")) if kind == "full" else Failing(errno.EIO)
            monkeypatch.setattr(sys, "stdout", stream)

        yield replace


@pytest.mark.parametrize(("framework", "kind"), [("jaxnets", "pipe"), ("torchnets", "full"), ("torchnets", "hung up")])
def test_a_training_continues_without_its_terminal(framework, kind, broken, run_main, monkeypatch):
    broken(kind)
    code, _, err = run_main(f"{framework}.train", *QUICK.split())
    assert code == 0
    assert err.startswith("warning: standard output cannot be written (")
    assert len(err.splitlines()) == 1
    assert Path("run/summary.json").exists()
    assert Path("run/checkpoints/last/manifest.json").exists()
    # What only prints ends: silently if nobody reads any more, as Unix filters do.
    broken(kind)
    code, _, err = run_main(f"{framework}.evaluate", "run")
    assert (code, err.split("(")[0]) == (
        (1, "error: standard output cannot be written ") if kind == "full" else (141, "")
    )
    broken(kind)
    assert run_main(f"{framework}.compare", "run", "run", "--out", "both.png")[0] == 0
    assert Path("both.png").exists()
    monkeypatch.setattr(sys, "stderr", Failing(errno.EPIPE))
    assert run_main(f"{framework}.evaluate", "nowhere")[0] == 1


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_an_epoch_is_saved_before_it_is_printed(framework, run_main, monkeypatch):
    seen: dict[str, bool] = {}

    class Watched(io.StringIO):
        def write(self, text: str) -> int:
            for number in (1, 2):
                if f"epoch  {number}/2" in text:
                    seen[text.split()[1]] = Path(f"run/checkpoints/step-{5 * number:09}").exists()
            return super().write(text)

    monkeypatch.setattr(sys, "stdout", Watched())
    assert run_main(f"{framework}.train", *QUICK.split())[0] == 0
    assert seen == {"1/2": True, "2/2": True}


def test_closed_descriptors_are_no_error(tmp_path):
    line = f"{sys.executable} -m jaxnets.train {QUICK} --epochs 1 >&- 2>&- <&-"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, check=False)
    assert done.returncode == 0
    assert (tmp_path / "run/summary.json").exists()


@pytest.mark.parametrize(
    ("argv", "code"), [("-m jaxnets.train --help", 141), ("-m jaxnets --help", 0), ("-m data list", 141)]
)
def test_what_only_prints_ends_silently_with_its_reader(argv, code, tmp_path):
    line = f"{sys.executable} {argv} | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")  # argparse, which prints the list of commands, ignores it


def interrupt_with(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Send a signal to this process after the third step of each training."""
    step = Monitor.step

    def signalled(self: Monitor, *args, **options) -> bool:
        if self.done == 2:
            os.kill(os.getpid(), number)
        return step(self, *args, **options)

    monkeypatch.setattr(Monitor, "step", signalled)


@pytest.mark.parametrize(
    ("framework", "variable"), [("jaxnets", "JAX_SOFTMAX_CUSTOM_JVP"), ("torchnets", "ATEN_CPU_CAPABILITY")]
)
def test_a_hang_up_saves_and_what_changes_rounding_is_recorded(framework, variable, run_main, monkeypatch):
    interrupt_with(signal.SIGHUP, monkeypatch)
    code, _, err = run_main(f"{framework}.train", *QUICK.split())
    assert (code, err.split(";")[0]) == (129, "interrupted after 0 epochs and 3 of 5 steps")
    assert Path("run/checkpoints/step-000000003").exists()
    # Under nohup the process has been told to ignore it.
    monkeypatch.setenv(variable, "default")
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        code, _, err = run_main(f"{framework}.train", "--resume", "run")
    finally:
        signal.signal(signal.SIGHUP, before)
    assert code == 0
    assert f"warning: not bit for bit what one run would be: environment {variable} was " in err
    assert json.loads(Path("run/summary.json").read_text())["environment"][variable] == os.environ[variable]


@pytest.fixture
def named_set(tmp_path: Path) -> Path:
    """A dataset whose classes have names that few terminals can show."""
    for split, count in (("train", 6), ("test", 1)):
        for value, name in enumerate(NAMES):
            folder = tmp_path / "set" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                Image.fromarray(np.full((8, 8), 40 * value, np.uint8)).save(folder / f"{number}.png")
    return tmp_path / "set"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_class_names_that_cannot_be_encoded_are_escaped(framework, named_set, run_main, monkeypatch, request):
    if framework == "torchnets":
        request.getfixturevalue("pictures")  # with the real pictures: their labels, too

    def say(encoding: str, *argv: object) -> str:
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        code, _, err = run_main(*argv)
        assert (code, err) == (0, "")
        stream.seek(0)
        return stream.read()

    options = "--model mlp --dataset ./set --batch-size 8 --epochs 1 --seeds 2 --out runs"
    assert "saved in runs/seed-1" in say("ascii", f"{framework}.train", *options.split())
    ascii_names = ["$\\foo$", ":dog:", "gr\\xfcn", "l\\udcfcft", "noir", "\\u732b[red]"]
    for encoding, names in (
        ("ascii", ascii_names),
        ("cp1252", [*ascii_names[:2], "gr\xfcn", *ascii_names[3:]]),
        ("utf-8", ["$\\foo$", ":dog:", "gr\xfcn", "l\\udcfcft", "noir", "\u732b[red]"]),
    ):
        out = say(encoding, f"{framework}.evaluate", "runs/seed-0")
        rows = [line for line in out.splitlines() if line.rstrip(" |│").endswith("%")][-len(names) :]
        assert [row.strip("|│ ").split()[0] for row in rows] == names
        assert len({len(row) for row in rows if "\u732b" not in row}) == 1  # the column fits the escaped names
    out = say("ascii", f"{framework}.predict", "runs/seed-0", named_set / "test" / "gr\xfcn" / "0.png")
    assert "gr\\xfcn/0.png" in out
    assert all(f"{name} " in out for name in ascii_names if name in out)
    inputs = json.loads(Path("runs/seed-0/summary.json").read_bytes())["inputs"]
    assert inputs["classes"] == sorted(NAMES)


@pytest.mark.parametrize("name", [*NAMES, "_x", "a\nb", "$", "\\$", "\u200b", "\U0001f415"])
def test_labels_of_pictures_are_drawn_as_they_are(name):
    rows = [{"epoch": 1, "split": split, "loss": 1.0, "accuracy": 0.5} for split in ("train", "validation", "test")]
    for picture in (plots.confusion(np.eye(1), [name], name), plots.overlaid({name: rows})):  # a warning is an error
        assert picture.startswith(b"\x89PNG")


def test_control_characters_are_escaped_and_combining_ones_are_not(monkeypatch):
    assert printable("a\x1b[2J\n\t\x9b") == "a\\x1b[2J\\n\\t\\x9b"
    assert printable("\u0646\u200c\u0645 e\u0301") == "\u0646\u200c\u0645 e\u0301"
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert printable("e\u0301") == "e\\u0301"


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
@pytest.mark.parametrize("colour", [False, True])
def test_usage_errors_are_one_plain_line_on_any_terminal(encoding, colour, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(stream, "isatty", lambda: colour)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setenv("TERM", "xterm")
    for argv, said in (
        (["--foo", "3"], "Unrecognized options: --foo, 3; For full helptext, run x --help"),
        (["--lr", "-"], "Error parsing --lr: could not convert string to float: '-'; Argument helptext: --lr FLOAT "),
    ):
        with pytest.raises(UserError) as error:
            parse_arguments(Config, argv, "x")
        assert str(error.value).startswith(said)
        assert "\x1b" not in str(error.value)


def test_a_progress_bar_needs_a_terminal(monkeypatch, run_main):
    for name in ("NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    leader, follower = os.openpty()
    with os.fdopen(follower, "w") as stream, os.fdopen(leader), monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", stream)
        patch.setenv("TERM", "xterm")
        assert shows_progress(make_console())
        assert not shows_progress(make_console(quiet=True))
        patch.setenv("TERM", "dumb")
        assert not shows_progress(make_console())
    for name, value in {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1", "COLUMNS": "0", "TERM": "xterm"}.items():
        monkeypatch.setenv(name, value)
    with Path("log").open("w+") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert run_main("torchnets.train", *QUICK.split())[0] == 0
        stream.seek(0)
        text = stream.read()
    assert text.count("epoch  1/2") == 1
    assert not any(part in text for part in ("\r", "\x1b[?25l", "\x1b[2K", "0/5"))
    assert "class of the test set" in text  # although COLUMNS=0


def run(*argv: str, **environment: str) -> tuple[int, str, str]:
    command = [sys.executable, "-m", *argv]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("argv", "name", "value"),
    [
        ("jaxnets.train --out run", "JAX_PLATFORMS", "cuda"),
        ("jaxnets.train --summary", "JAX_PLATFORM_NAME", "gpu"),
        ("parity check mlp", "JAX_PLATFORMS", "tpu"),
        ("parity doctor", "JAX_PLATFORMS", "nonsense"),
    ],
)
def test_a_device_that_is_not_there_is_one_line(argv, name, value, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    others = dict.fromkeys(("JAX_PLATFORMS", "JAX_PLATFORM_NAME"), "")
    said = f"error: {name} is '{value}', but there is no such device here: JAX finds cpu; set another, or none\n"
    assert run(*argv.split(), **(others | {name: value})) == (1, "", said)
    assert not list(tmp_path.iterdir())


def test_the_bench_says_which_device_it_cannot_have():
    code, _, err = run("parity", "bench", "mlp", "--device", "gpu")
    assert (code, len(err.splitlines())) == (1, 1)
    assert err.startswith("error: --device is gpu")


def test_a_variable_that_jax_cannot_read_is_one_line():
    said = "error: jaxnets cannot be imported: invalid truth value 'maybe' for environment 'JAX_ENABLE_X64'\n"
    assert run("jaxnets.train", JAX_ENABLE_X64="maybe") == (1, "", said)


def test_no_variable_changes_what_a_seed_means(run_main):
    others = {
        "jax_default_prng_impl": "rbg",
        "jax_threefry_partitionable": False,
        "jax_random_seed_offset": 7,
        "jax_numpy_dtype_promotion": "strict",
        "jax_numpy_rank_promotion": "raise",
    }
    options = ["--model", "ann", "--batch-size", "300", "--epochs", "1"]
    assert run_main("jaxnets.train", *options, "--out", "a")[0] == 0
    for name, value in others.items():  # as JAX_DEFAULT_PRNG_IMPL and so on do
        assert getattr(jax.config, name) != value
        jax.config.update(name, value)
    assert run_main("jaxnets.train", *options, "--out", "b")[0] == 0
    assert Path("a/weights.safetensors").read_bytes() == Path("b/weights.safetensors").read_bytes()


def test_the_streams_are_restored():
    before: tuple[object, Callable[..., object]] = sys.stdout, sys.stdout.write
    errors = sys.stdout.errors
    with terminal():
        assert sys.stdout is not before[0]
        with terminal():
            print("\udcfc")
    assert (sys.stdout, sys.stdout.errors) == (before[0], errors)
