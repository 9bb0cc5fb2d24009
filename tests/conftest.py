import atexit
import gc
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

if "PYTEST_XDIST_WORKER" in os.environ:  # a process per core already: threads would only get in each other's way
    os.environ.setdefault("OMP_NUM_THREADS", "1")
else:
    # Many tests compile the same program. All workers, and the commands that they start, share one cache, which is
    # removed at the end. With a limit on its size JAX locks it: without one it does not write entries atomically.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = tempfile.mkdtemp(prefix="jaxnets-tests-")
    os.environ["JAX_COMPILATION_CACHE_MAX_SIZE"] = str(4 << 30)
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.1"

from functools import partial

import hypothesis
import jax
import pytest

from experiment.cli import compare, evaluate, predict, train, visualize
from experiment.runs import plots
from parity import __main__ as parity_main
from parity.compiler import isolated
from parity.report import Result
from parity.sides.compilation import QUICK_COMPILATION as CHECKS_COMPILATION
from tests.quick import ALL, QUICK_COMPILATION

WORKER = "PYTEST_XDIST_WORKER" in os.environ
if not WORKER:
    atexit.register(shutil.rmtree, os.environ["JAX_COMPILATION_CACHE_DIR"], ignore_errors=True)

# CI repeats the same examples, so that its verdict is about the change; on a desk each run tries others.
hypothesis.settings.register_profile(
    "quick", max_examples=30, deadline=None, derandomize=bool(os.environ.get("CI")), database=None
)
hypothesis.settings.load_profile("quick")

REAL_DATA = Path(__file__).parents[2] / "shared" / "datasets"
REAL_FOLDERS = ("MNIST/raw", "FashionMNIST/raw", "free-spoken-digit-dataset/recordings")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run all tests, also those that are marked slow")
    parser.addoption("--as-users", action="store_true", help="compile programs as users do, which takes far longer")


def pytest_configure(config: pytest.Config) -> None:
    """Let XLA compile with little effort, but with --as-users exactly as users' programs are compiled."""
    as_users = config.getoption("as_users")
    if not as_users:
        CHECKS_COMPILATION.update(xla_backend_optimization_level=0, xla_llvm_disable_expensive_passes=True)
    if WORKER:  # has the environment of the process that has started it
        return
    if config.getoption("slow"):
        os.environ[ALL] = "yes"
    if not as_users:
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {QUICK_COMPILATION}".strip()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the slow tests unless asked for; begin with the longest, so that at the end no core waits."""
    if not config.getoption("slow"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("slow")])
        items[:] = [item for item in items if not item.get_closest_marker("slow")]
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture(autouse=True, scope="session")
def running_jax() -> None:
    """Start JAX before a test sets XLA_FLAGS for the processes that it starts.

    XLA reads its flags once, with the first use of a device: with those of such a test, without the guard's, all later
    tests of this process would compute other last bits than the processes that they start.
    """
    jax.devices()


@pytest.fixture(autouse=True, scope="session")
def compiled_as_by_users() -> Iterator[None]:
    """With --slow, let the check `compiled` of every network compile as users do, whatever the tests' own programs."""
    inherited = isolated.environment

    def of_users() -> dict[str, str]:
        found = inherited()
        return found | {"XLA_FLAGS": found.get("XLA_FLAGS", "").replace(QUICK_COMPILATION, "")}

    with pytest.MonkeyPatch.context() as patch:
        if ALL in os.environ:
            patch.setattr(isolated, "environment", of_users)
        yield


@pytest.fixture(autouse=True, scope="module")
def small_heap() -> None:
    """Exclude what earlier files have left from garbage collection: a full pass over both frameworks takes 0.7 s."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def real_data() -> Path:
    """The folder of the real MNIST and FSDD; their absence is a failure in CI, elsewhere a reason to skip."""
    missing = [name for name in REAL_FOLDERS if not (REAL_DATA / name).is_dir()]
    if missing:
        message = f"no {', '.join(missing)} in {REAL_DATA}"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return REAL_DATA


@pytest.fixture
def without_compiled(monkeypatch) -> None:
    """Leave out the check `compiled`, half of the time of `parity.check`: test_compiler and test_parity have it."""
    passed = Result("compiled", 0.0, 0.0, "")
    monkeypatch.setattr("parity.checks.layers.check_compiled", lambda *_: passed)


@pytest.fixture
def pictures() -> None:
    """Ask `run_main` for the true pictures of a run."""


def without_pictures(patch: pytest.MonkeyPatch) -> None:
    """Let the pictures of a run be empty files."""
    for name in ("curves", "confusion"):
        patch.setattr(plots, name, lambda *_: b"")


@pytest.fixture
def run_main(request, monkeypatch, capsys, tmp_path):
    """Run a trainer's or evaluator's command line in this process: -> (exit code, stdout, stderr).

    The pictures of a run take longer than a small training: they are empty unless the test asks for `pictures`, too.
    """
    monkeypatch.chdir(tmp_path)
    if "pictures" not in request.fixturenames:
        without_pictures(monkeypatch)

    def run(command: str, *argv: object) -> tuple[int, str, str]:
        framework, _, what = command.partition(".")
        modules = (train, evaluate, predict, compare, visualize)
        main = {module.__name__.rpartition(".")[2]: module for module in modules}[what].main
        monkeypatch.setattr("sys.argv", [command, *map(str, argv)])
        with pytest.raises(SystemExit) as stop:
            main(framework)
        out, err = capsys.readouterr()
        if isinstance(stop.value.code, str):  # what sys.exit prints, and its exit code
            return 1, out, err + stop.value.code + "\n"
        return int(stop.value.code or 0), out, err

    yield run
    # A command sets the precision of its process, which here is that of the tests to come.
    if torch := sys.modules.get("torch"):
        torch.set_default_dtype(torch.float32)
    if jax := sys.modules.get("jax"):
        jax.config.update("jax_enable_x64", False)


@pytest.fixture
def convert(run_parity):
    """Run `python -m parity convert` in this process: -> (exit code, stdout, what is printed on stderr)."""
    return partial(run_parity, "convert")


@pytest.fixture
def run_parity(monkeypatch, capsys, tmp_path):
    """Run `python -m parity` in this process: -> (exit code, stdout, what is printed on stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*argv: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["parity", *map(str, argv)])
        with pytest.raises(SystemExit) as stop:
            parity_main.main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err.removesuffix("\n")

    return run
