"""Solutions of lesson 10."""

import copy

import jax
import numpy as np
from exercises import Exercise


def with_new_head(variables, name, kernel, bias):
    """Return variables with another layer `name`; all dicts on the way are new."""
    return {**variables, "params": {**variables["params"], name: {"kernel": kernel, "bias": bias}}}


def in_place(variables, name, kernel, bias):
    """Change the dict that was given: a mistake."""
    variables["params"][name] = {"kernel": kernel, "bias": bias}
    return variables


def always_fc(variables, name, kernel, bias):
    """Forget the name: a mistake."""
    del name
    return with_new_head(variables, "fc", kernel, bias)


def check_with_new_head(answer):
    """Check the new variables, and the old ones."""
    old = {"params": {"conv": {"kernel": np.ones(2)}, "fc": {"kernel": np.ones((2, 3)), "bias": np.ones(3)}}}
    old["batch_stats"] = {"bn": {"mean": np.ones(2)}}
    kept, kernel, bias = copy.deepcopy(old), np.full((2, 5), 7.0), np.full(5, 7.0)
    new = answer(old, "fc", kernel, bias)
    assert jax.tree.map(np.shape, old) == jax.tree.map(np.shape, kept), "the old variables have changed"
    assert new["params"]["fc"]["kernel"].shape == (2, 5), "the new variables have the old head"
    assert new["params"]["fc"]["bias"].shape == (5,), "the new variables have the old bias"
    assert new["params"]["conv"] is old["params"]["conv"], "the other layers should be the old ones, not copies"
    assert "batch_stats" in new, "the statistics are lost"
    assert (np.asarray(new["params"]["fc"]["kernel"]) == 7).all(), "the new head has other numbers than were given"
    other = answer(old, "head", kernel, bias)["params"]
    assert set(other) == {"conv", "fc", "head"}, f"the layer is called head; found the layers {sorted(other)}"


def changed(before, after, prefix=""):
    """Return the paths of the leaves that differ."""
    paths = []
    for name in before:
        path = f"{prefix}{name}"
        if isinstance(before[name], dict):
            paths += changed(before[name], after[name], f"{path}/")
        elif not np.array_equal(before[name], after[name]):
            paths.append(path)
    return paths


def within_a_tolerance(before, after):
    """Forgive small changes: a mistake, since a slow drift is a change."""
    leaves = zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True)
    return ["/".join(key.key for key in path) for (path, a), b in leaves if not np.allclose(a, b, atol=1e-3)]


def check_changed(answer):
    """Check a large and a small change."""
    before = {"params": {"a": {"kernel": np.ones((2, 2))}, "b": {"kernel": np.ones(2)}}, "step": np.zeros(())}
    after = {"params": {"a": {"kernel": np.eye(2)}, "b": {"kernel": np.ones(2)}}, "step": np.zeros(())}
    assert list(answer(before, before)) == [], "nothing has changed, and the list is not empty"
    assert list(answer(before, after)) == ["params/a/kernel"], "only params/a/kernel has changed"
    after["params"]["b"] = {"kernel": np.ones(2) + 1e-6}
    assert sorted(answer(before, after)) == ["params/a/kernel", "params/b/kernel"], "a change of 1e-6 is a change"


def step(params, grads, rate, frozen):
    """Return new parameters; the frozen layers are the old ones."""
    return {
        name: layer if name in frozen else jax.tree.map(lambda p, g: p - rate * g, layer, grads[name])
        for name, layer in params.items()
    }


def step_for_all(params, grads, rate, frozen):
    """Trust that frozen layers have no gradient: a mistake."""
    del frozen
    return jax.tree.map(lambda p, g: p - rate * g, params, grads)


def check_step(answer):
    """Check a trained and a frozen layer, the latter with a gradient."""
    params = {"conv1": {"kernel": np.ones((2, 2))}, "fc": {"kernel": np.ones(2), "bias": np.zeros(1)}}
    grads = jax.tree.map(np.ones_like, params)
    new = answer(params, grads, 0.5, {"conv1"})
    assert np.array_equal(new["conv1"]["kernel"], params["conv1"]["kernel"]), "conv1 is frozen, and has changed"
    assert np.allclose(new["fc"]["kernel"], 0.5), "fc/kernel should be 1 - 0.5 x 1 = 0.5"
    assert np.allclose(new["fc"]["bias"], -0.5), "fc/bias should be 0 - 0.5 x 1 = -0.5"
    assert np.allclose(answer(params, grads, 0.5, set())["conv1"]["kernel"], 0.5), "nothing is frozen: all change"


EXERCISES = [
    Exercise(with_new_head, check_with_new_head, in_place, always_fc),
    Exercise(changed, check_changed, within_a_tolerance),
    Exercise(step, check_step, step_for_all),
]
