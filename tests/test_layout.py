"""The direction of imports: data, experiment, a framework, parity; and both frameworks are what `Backend` asks for."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {  # by package: what no module in it imports, at the top or in a function
    "data": {"experiment", "jaxnets", "torchnets", "parity", "benchmarks", "tests", "jax", "flax", "optax"},
    "experiment": {"jaxnets", "torchnets", "parity", "benchmarks", "tests", "jax", "flax", "optax"},
    "jaxnets": {"torchnets", "parity", "benchmarks", "tests", "torch", "torchvision"},
    "torchnets": {"jaxnets", "parity", "benchmarks", "tests", "jax", "flax", "optax"},
    "parity": {"benchmarks", "tests"},
    "benchmarks": {"tests"},
}
# PyTorch reads its own files, and its loader is what ours is measured against.
TORCH = {
    "experiment/weights/files.py",
    "experiment/weights/loaded.py",
    "experiment/weights/pretrained.py",
    "data/benchmark/measure.py",
    "data/benchmark/torch_side.py",
}


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_go_one_way(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    found = []
    for path in files:
        name = path.relative_to(ROOT).as_posix()
        forbidden = FORBIDDEN[package] | ({"torch", "torchvision"} if package in ("data", "experiment") else set())
        forbidden -= {"torch", "torchvision"} if name in TORCH else set()
        found += [f"{name}: {module}" for module in imported(path) if module.split(".")[0] in forbidden]
    assert not found


@pytest.mark.parametrize(
    ("below", "above"),
    [
        ("runs", {"cli"}),
        ("loop", {"cli"}),
        ("weights", {"cli", "loop.trainer", "loop.training", "loop.setup", "loop.session"}),
        ("distributed", {"cli", "loop", "runs", "weights"}),
    ],
)
def test_the_rooms_of_experiment_do_not_import_upwards(below, above):
    found = []
    for path in sorted((ROOT / "experiment" / below).glob("*.py")):
        for module in imported(path):
            if any(f"{module}.".startswith(f"experiment.{name}.") for name in above):
                found.append(f"{path.name}: {module}")
    assert not found


def test_the_rooms_of_parity_import_in_one_direction():
    rooms: dict[str, set[str]] = {}
    for path in sorted((ROOT / "parity").rglob("*.py")):
        first = path.relative_to(ROOT / "parity").parts[0].removesuffix(".py")
        names = {module.split(".")[1] for module in imported(path) if module.startswith("parity.")}
        rooms.setdefault(first, set()).update(names - {first})
    order = tuple(TopologicalSorter(rooms).static_order())  # raises where two rooms import each other
    assert order.index("sides") < order.index("checks") < order.index("ports") < order.index("commands")


if TYPE_CHECKING:  # what the type checker proves: both modules have all that `Backend` asks for
    import jaxnets.loop
    import torchnets.loop
    from experiment.backend import Backend, EnsembleBackend

    JAXNETS: EnsembleBackend = jaxnets.loop
    TORCHNETS: Backend = torchnets.loop
