"""The guard, the check `compiled`, and `parity doctor`. Child processes get the flag that brings XLA's faults back."""

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis.extra import numpy as arrays_of
from jax import lax

import parity
from jaxnets.compiler_guard import FLAG, NAME, REPORTS
from parity.commands import check as check_command
from parity.commands import pool
from parity.compiler import doctor
from parity.compiler.check import check_compiled
from parity.compiler.faults import Known
from parity.compiler.isolated import Compiler, CrashError
from parity.compiler.one_by_one import Evaluator
from parity.compiler.program import as_array, flatten_function
from parity.compiler.smallest import Judge, smallest_part
from parity.sides.flax_side import FlaxSide
from tests import miscompiled
from tests.worker_environment import environment_of_a_check

ON = f"--{NAME}=+reduce"  # what XLA does by itself
AFFECTED = version("jaxlib") in REPORTS
PAIRS = Path(miscompiled.__file__)


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | environment
    return subprocess.run([sys.executable, "-c", code], env=variables, capture_output=True, text=True, check=False)


# The guard's flag has no value, yet another may follow it; one of the user's stands.
OWN = [ON, f"--{NAME}=-reduce", f"{FLAG} --xla_force_host_platform_device_count=2"]


@pytest.mark.parametrize("before", ["", "--xla_force_host_platform_device_count=2", *OWN])
def test_importing_sets_the_flag_and_keeps_what_the_user_said(before):
    done = python(
        "import os, jax, jaxnets; print(os.environ.get('XLA_FLAGS', ''), len(jax.devices()))", XLA_FLAGS=before
    )
    flags, _, devices = done.stdout.strip().rpartition(" ")
    expected = before if before in OWN or not AFFECTED else f"{before} {FLAG}".strip()
    assert (flags, devices, done.stderr) == (expected, "2" if "device_count" in before else "1", "")


def test_a_file_of_flags_is_read_and_never_overwritten(tmp_path):
    file = tmp_path / "flags"
    for text, warns in ((f"{FLAG}\n", False), ("--xla_cpu_enable_fast_math=false\n", AFFECTED)):
        file.write_text(text)
        done = python("import os, jaxnets; print(os.environ['XLA_FLAGS'])", XLA_FLAGS=str(file))
        assert done.stdout.strip() == str(file)
        assert file.read_text() == text
        assert (f"add {FLAG} to the file {file}" in done.stderr) == warns


def test_a_jax_that_runs_already_is_warned_about_once():
    done = python("import jax; jax.devices(); import jaxnets, parity.sides.flax_side")
    assert done.stderr.count(f"set XLA_FLAGS={FLAG} before Python starts") == (1 if AFFECTED else 0)


@pytest.mark.parametrize("module", ["jaxnets", "parity.sides.flax_side"])
def test_the_reported_programs_are_right_after_the_import(module):
    done = python(f"""
import {module}, jax, jax.numpy as jnp, numpy as np
rng = np.random.default_rng(0)
for dtype, rows in (("float64", 20001), ("float32", 40001)):
    with jax.enable_x64(dtype == "float64"):
        x, W = rng.normal(size=(rows, 3)).astype(dtype), rng.normal(size=(3, 3)).astype(dtype)
        got = jax.jit(lambda x, W: jax.vmap(lambda row: jnp.sum((W @ row) ** 2))(x))(x, W)
        np.testing.assert_allclose(got, ((x @ W.T) ** 2).sum(1), rtol=1e-4 if dtype == "float32" else 1e-11)
        a = np.ones((3, 1, 2, 2, 8, 8, 8), dtype)
        np.testing.assert_array_equal(jax.jit(lambda a, b: (a * b).sum(3))(a, a), (a * a).sum(3))
""")
    assert (done.returncode, done.stderr) == (0, "")


def test_the_guard_keeps_everything_from_the_library_where_that_was_tried_and_the_doctor_says_so(
    run_parity, monkeypatch
):
    assert (f"--{NAME}=" == FLAG) == (version("jaxlib") in ("0.10.2", "0.12.0.1"))
    monkeypatch.setattr(doctor, "known_faults", list)
    for flags, said in ((FLAG, "guard: on"), (ON, "guard: left to XLA_FLAGS"), ("", "guard: off")):
        monkeypatch.setenv("XLA_FLAGS", flags)
        assert said in run_parity("doctor")[1] or not AFFECTED


def test_doctor_says_what_an_issue_report_needs(run_parity, tmp_path, monkeypatch):
    code, out, _ = run_parity("doctor", "--json", tmp_path / "found.json")
    assert code == 0
    assert "all right here" in out
    for name in ("python", "jax", "jaxlib", "flax", "optax", "torch"):
        assert f"{name} " in out
    assert "devices: cpu" in out
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["ok"]
    assert len(found["outcomes"]) == 8
    # The programs run in a child, which reads the flags as they are when it starts.
    monkeypatch.setenv("XLA_FLAGS", ON)
    code, out, _ = run_parity("doctor")
    assert code == (3 if AFFECTED else 0)
    assert ("wrong here; set XLA_FLAGS" in out) == AFFECTED


@pytest.mark.parametrize(
    ("pair", "shape", "wrong", "operation"),
    [
        ("Constant", (5, 8), AFFECTED, "reduce_sum"),
        pytest.param("Rows", (20001, 3), version("jaxlib") == "0.10.2", "reduce_sum", marks=pytest.mark.slow),
        pytest.param("Maximum", (64, 128), AFFECTED, "reduce_window_max", marks=pytest.mark.slow),
    ],
)
def test_a_right_pair_that_is_compiled_wrong_is_the_compilers_fault(
    pair, shape, wrong, operation, monkeypatch, tmp_path
):
    torch_module, flax_module = getattr(miscompiled, f"Torch{pair}")(), getattr(miscompiled, f"Flax{pair}")()
    inputs = np.random.default_rng(0).normal(size=shape)
    report = parity.check(torch_module, flax_module, inputs)
    assert (report.verdict, report.failures) == ("same", ())
    weights = [p.detach().numpy().astype("f8") for p in torch_module.parameters()]
    native = {"fc/kernel": 0, "fc/bias": 1, "weight": 0}
    side = FlaxSide(flax_module, np.float64)
    variables = {path: weights[native[path.removeprefix("params/")]].T for path in side.structure(inputs.shape[1:])}
    cotangent = np.ones_like(side.forward(variables, inputs).output)
    monkeypatch.setenv("XLA_FLAGS", ON)
    with Compiler() as compiler:
        result = check_compiled([side], variables, inputs, cotangent, compiler=compiler)
    assert bool(result.failure) == wrong
    if result.failure:
        fault = result.failure.fault
        assert fault is not None
        assert operation in [name for name, _ in fault.operations]
        assert all("miscompiled.py:" in line for _, line in fault.operations)
        assert len(fault.script.splitlines()) <= 20
        (tmp_path / "fault.py").write_text(fault.script)
        done = python((tmp_path / "fault.py").read_text(), XLA_FLAGS=ON)
        assert "elements are wrong" in done.stdout
        assert not done.stdout.startswith("0 of")
        assert python(fault.script, XLA_FLAGS=FLAG).stdout.startswith("0 of")


def test_the_command_has_an_exit_status_of_its_own_and_writes_the_script(tmp_path):
    command = [sys.executable, "-m", "parity", "check", f"{PAIRS}:TorchConstant", f"{PAIRS}:FlaxConstant"]
    command += ["--input", "5,8", "--save-script", str(tmp_path / "fault.py"), "--json", str(tmp_path / "report.json")]
    done = subprocess.run(command, env=os.environ | {"XLA_FLAGS": ON}, capture_output=True, text=True, check=False)
    report = json.loads((tmp_path / "report.json").read_text())[0]
    assert done.returncode == (3 if AFFECTED else 0), done.stdout + done.stderr
    assert report["verdict"] == ("compiler" if AFFECTED else "same")
    assert ("the compiler is wrong in 1" in done.stdout) == AFFECTED
    assert (tmp_path / "fault.py").exists() == AFFECTED


def test_a_part_deep_inside_a_program_is_found(monkeypatch):
    x = np.random.default_rng(0).normal(size=(5, 60, 60))

    def program(x):
        y = jnp.cos(jnp.sin(x) * 2 - 1) @ x
        z = jnp.sum((y @ jnp.full_like(y, 0.5)) * y, axis=-1)
        return [jnp.tanh(z / 100) + 1, y.mean(0)]

    monkeypatch.setenv("XLA_FLAGS", ON)
    with jax.enable_x64(True), Compiler() as compiler:
        whole, given = flatten_function(program, [x])
        values = Evaluator()(whole, given)
        found = smallest_part(Judge(compiler, Evaluator(), "float64"), whole, values)
    assert (found is not None) == AFFECTED
    if found:
        names = [equation.primitive.name for equation in found[0].equations]
        assert {"dot_general", "reduce_sum"} <= set(names)
        assert len(names) <= 5 < len(whole.equations)


def test_what_a_rounding_decides_is_no_fault_of_the_compiler():
    x = np.random.default_rng(0).normal(size=(64, 64)).astype("f4")

    def program(x):  # each sign is that of a rounding
        return [jnp.sign((x @ x.T).sum() - (x @ x.T).sum(0).sum() + 0 * x)]

    with Compiler() as compiler:
        whole, given = flatten_function(program, [x])
        values = Evaluator()(whole, given)
        values = {number: as_array(value) for number, value in values.items()}
        assert smallest_part(Judge(compiler, Evaluator(), "float32"), whole, values) is None


def test_a_process_that_does_not_answer_is_ended_and_another_started():
    with Compiler(timeout=0.01) as compiler, pytest.raises(CrashError, match=r"no result after 0\.01 s"):
        compiler(lambda x: [x + 1], [np.ones(3)])
    with Compiler() as compiler:
        np.testing.assert_array_equal(compiler(lambda x: [x + 1], [np.ones(3, "f4")])[0], np.full(3, 2))


NUMBERS = {"allow_nan": False, "width": 32, "min_value": -8, "max_value": 8}
OPERATIONS = {
    "broadcast": lambda x: jnp.broadcast_to(x[:, None], (x.shape[0], 3, *x.shape[1:])),
    "slice": lambda x: lax.slice(x, [1] * x.ndim, x.shape, [2] * x.ndim) if min(x.shape) > 1 else x,
    "select": lambda x: jnp.where(x > 1, x, -x),
    "choose": lambda x: lax.select_n((x > 0).astype(int) + (x > 2), x, x + 1, x + 2),
    "squeeze": lambda x: lax.squeeze(x[None], [0]),
    "transpose": lambda x: x.T,
    "cast": lambda x: x.astype(jnp.int32).astype(jnp.bfloat16),
    "concatenate": lambda x: jnp.concatenate([x, x * 2], -1),
    "rev": lambda x: jnp.flip(x, 0),
    "arithmetic": lambda x: jnp.abs(x + 2 - x * 3) - (-x),
    "comparisons": lambda x: (x < 1) | (x <= 2) & (x >= 0) ^ (x == 1) | (x != 3),
    "extremes": lambda x: jnp.maximum(x, 1) + jnp.minimum(x, -1),
    "reshape": lambda x: x.reshape(-1),
    "gradient": jax.grad(lambda x: jnp.where(x > 1, x * x, 0).sum()),
}


@pytest.mark.parametrize("name", OPERATIONS)
@hypothesis.given(arrays_of.arrays("f4", st.sampled_from([(1, 1), (3, 5), (4, 2, 3)]), elements=st.floats(**NUMBERS)))
@hypothesis.settings(max_examples=5)
def test_one_by_one_is_what_jax_computes(name, x):
    function = OPERATIONS[name]
    program, given = flatten_function(lambda x: [function(x)], [x])
    values = Evaluator()(program, given)
    expected = np.asarray(function(x))
    found = as_array(values[program.outputs[0]])
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)  # no sum is in these whose order XLA may choose


def test_doctor_on_a_gpu_asks_for_exact_float32_and_advises_no_flag_for_cpus(run_parity, monkeypatch):
    precisions = []

    def wrong(x):
        product = jax.make_jaxpr(lambda x: x @ x)(x).eqns[-1]
        precisions.append(product.params["precision"])
        return x + 1

    known = Known("a sum", "none known", "float32", wrong, lambda x: x, ((3,),))
    monkeypatch.setattr(doctor, "known_faults", lambda: [known])
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # then it runs in this process
    code, out, _ = run_parity("doctor")
    assert (code, precisions) == (3, [(lax.Precision.HIGHEST,) * 2])
    assert f"1 wrong here, on {jax.devices()[0].device_kind}" in out
    assert "set XLA_FLAGS" not in out


@pytest.mark.parametrize(("own", "platform"), [(None, "cpu"), ("cuda", "cuda")])
def test_check_computes_on_the_cpu_unless_the_user_names_a_device(own, platform, run_parity, monkeypatch):
    seen = []
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    if own:
        monkeypatch.setenv("JAX_PLATFORMS", own)
    monkeypatch.setattr(check_command, "run_checks", lambda *_, **__: seen.append(os.environ["JAX_PLATFORMS"]) or 0)
    assert run_parity("check", "ann")[0] == 0
    assert (seen, os.environ.get("JAX_PLATFORMS")) == ([platform], own)


@pytest.mark.parametrize(("own", "preallocate"), [(None, "false"), ("true", "true")])
def test_processes_that_check_do_not_take_the_memory_of_a_gpu_from_each_other(own, preallocate, monkeypatch):
    names = ("XLA_PYTHON_CLIENT_PREALLOCATE", "OMP_NUM_THREADS")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    if own:
        monkeypatch.setenv(names[0], own)
    monkeypatch.setenv(names[1], "7")
    monkeypatch.setattr(pool.os, "cpu_count", lambda: 2)
    monkeypatch.setattr(pool, "_check", environment_of_a_check)
    assert list(pool.check_models(["ann", "mlp"], full=False)) == [(preallocate, "1")] * 2
    assert (os.environ.get(names[0]), os.environ[names[1]]) == (own, "7")
