"""A saved run as the result of a training."""

import json
import warnings
from pathlib import Path

import numpy as np

from data import Dataset, Split, apply_frontend
from experiment.loop.task import network
from experiment.programs.result import Framework, Result, Trained
from experiment.registry import with_shape
from experiment.runs import folder as run_folder
from experiment.runs.inputs import read_inputs
from experiment.runs.source import locate
from experiment.weights.pretrained import as_built


def load(framework: Framework, folder: Path | str, model: str | None) -> Result:
    """Read a run folder of either framework; see `jaxnets.program.load`.

    Raises:
        UserError: it is no run folder, or its network is not there.
    """
    path, backend = Path(folder), framework.backend
    config, weights = run_folder.read_run(path)
    config, lines = locate(config, path, model)
    for line in lines:
        warnings.warn(line, UserWarning, stacklevel=3)
    about = read_inputs(path)
    entry = as_built(network(config, backend.MODELS), config, backend.MODELS)
    entry = with_shape(entry, _shape(tuple(about["shape"]), about["rate"], config.frontend))
    with framework.settings(config):
        made, template = backend.create(entry, len(about["classes"]), config.seed)
        variables = backend.restore(template, weights)
    rows = (path / run_folder.METRICS).read_text(encoding="utf-8").splitlines()
    summary = path / run_folder.SUMMARY
    found = json.loads(summary.read_text(encoding="utf-8")) if summary.exists() else {}
    trained = Trained(framework, config, made, entry.input_shape, about, "", [json.loads(row) for row in rows], found)
    return Result(framework.unwrap(made, variables), variables, None, {}, path, trained)


def _shape(shape: tuple[int, ...], rate: int | None, frontend: str) -> tuple[int, ...]:
    """Return the shape of what the network takes, if that is the dataset's."""
    if frontend == "none":
        return shape
    split, unused = Split(np.zeros((1, *shape), np.int16), np.zeros(1, np.int32)), np.ones(shape[-1], np.float32)
    made, _ = apply_frontend(Dataset(split, split, ("",), unused, unused, rate=rate), frontend)
    return made.test.inputs.shape[1:]
