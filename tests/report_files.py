"""Files for the report: checks of made-up networks, and run folders, written without any training."""

import json
from pathlib import Path
from typing import Any

from experiment.config import Config
from experiment.runs.folder import make_folder, write_rows, write_summary
from parity.report import Failure, Report, Result, Trajectory

LOSSES = (0.71, 0.52, 0.4000000000000001)


def reports() -> list[dict[str, Any]]:
    """The JSON of three networks: right, right but near a bound, and wrong."""
    trajectory = Trajectory(LOSSES, (0.71, 0.52, 0.4), (0.0, 2.5e-16, 3e-16))
    right = (
        Result("structure", 0.0, 0.0, "", "12 tensors, 61,706 parameters"),
        Result("forward, eval", 1.234e-15, 1e-13, "conv1"),
        Result("trajectory adam", 3.1e-15, 1e-10, "exp_avg/params/fc2/kernel", "3 steps", trajectory=trajectory),
    )
    near = (
        Result("structure", 0.0, 0.0, ""),
        Result("forward, eval", 8e-14, 1e-13, "stem"),
        Result("dropout", 0, 1e-11, ""),
    )
    wrong = Failure("forward, eval", "forward", "fc<1>", float("inf"), 1e-13, "tanh </script> instead of sigmoid")
    failed = (Result("structure", 0.0, 0.0, ""), Result("forward, eval", float("inf"), 1e-13, "fc<1>", failure=wrong))
    named = {"lenet5": right, "inception": near, "my_torch.py:Net my_flax.py:Net": failed}
    return [Report(name, results).to_json() for name, results in named.items()]


def layers() -> dict[str, Any]:
    """The JSON of the errors of one network's layers."""
    rows = [
        {
            "layer": name,
            "forward": {"error": forward, "bound": 1e-13, "what": "output, evaluation mode"},
            "backward": {"error": backward, "bound": 1e-11, "what": "gradient of kernel"} if backward else None,
        }
        for name, forward, backward in (("conv1", 3.3e-16, 2.2e-15), ("fc1", 0.0, 4.4e-14), ("output", 5.5e-13, None))
    ]
    return {"lenet5": {"name": "lenet5", "input_shape": [32, 32, 1], "examples": 4, "layers": rows}}


def write_checks(path: Path) -> Path:
    """Write the checks and layers as an earlier report does."""
    networks = ["inception", "lenet5", "mlp"]
    figures = {"date": "2026-11-26", "networks": networks, "reports": reports(), "layers": layers()}
    path.write_text(json.dumps(figures))
    return path


def write_run(folder: Path, framework: str, *, epochs: int = 3) -> Path:
    """Write the folder of a finished run; the loss of its last epoch is not finite."""
    config = Config(model="mlp", dataset="digits", epochs=epochs, out=folder)
    make_folder(config, framework)
    base = 0.5 if framework == "jaxnets" else 0.51
    rows = [
        {"epoch": epoch, "split": split, "loss": None if epoch == epochs else 2 / epoch, "accuracy": base + epoch / 10}
        for epoch in range(1, epochs + 1)
        for split in ("train", "validation", "test")
    ]
    write_rows(folder, rows)
    about = {"framework": framework, "model": "mlp", "device": "cpu: cpu", "versions": {"numpy": "2.4"}}
    write_summary(folder, {**about, "epochs": epochs, "examples_per_second": 1234.5, "seconds": 1.0})
    return folder
