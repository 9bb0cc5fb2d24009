"""The check `compiled`: a module under plain `jax.jit`, as its users run it, against its operations one by one."""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from parity.compiler.isolated import Compiler, CrashError
from parity.compiler.one_by_one import Evaluator
from parity.compiler.program import Program, Values, as_array, flatten_function
from parity.compiler.script import write_script
from parity.compiler.smallest import LIMITS, Judge, smallest_part
from parity.report import CompilerFault, Failure, Result
from parity.sides.flax_side import FlaxSide

CHECK, STAGE = "compiled", "compiler"
MOST_NAMED = 6  # operations in a diagnosis


def check_compiled(
    sides: Sequence[FlaxSide],
    variables: Mapping[str, np.ndarray],
    inputs: np.ndarray,
    cotangent: np.ndarray,
    options: Mapping[str, Any] | None = None,
    compiler: Compiler | None = None,
) -> Result:
    """Compile the forward pass and the gradients, and compare them with the same operations one by one.

    Args:
        sides: the module in float64 and, after that, in float32.
        variables: by PyTorch's paths.
        inputs: (N, ..., C).
        cotangent: what the output is multiplied by before it is differentiated.
        options: of the checks' own programs; by default none, as users compile.
        compiler: by default one that all checks share.
    """
    worst, exact = dict[str, float](), dict[str, list[np.ndarray]]()
    for side in sides:
        dtype = np.dtype(side.dtype).name
        with side.precision():
            for name, (function, arguments) in side.plain_passes(dict(variables), inputs, cotangent).items():
                program, given = flatten_function(function, arguments)
                judge = Judge(compiler or _compiler(), _evaluator(), dtype, options)
                error = _quick_error(judge, program, given, exact.get(name))
                if error > LIMITS[dtype]:
                    values = _evaluator()(program, given)
                    exact.setdefault(name, [as_array(values[number]) for number in program.outputs])
                    apart = judge(program, values)
                    if apart and (fault := _locate(judge, program, values, name, dtype)):
                        return _failed(fault._replace(in_checks=options is not None))
                    error = 0.0 if apart else judge.worst
                worst[dtype] = max(worst.get(dtype, 0.0), error)
    others = [f"{dtype} {error:.1e}" for dtype, error in worst.items() if dtype != "float64"]
    return Result(CHECK, worst.get("float64", 0.0), LIMITS["float64"], "forward and gradients", ", ".join(others))


def prepare() -> None:
    """Start what `check_compiled` needs, which takes a second and can be done beside other checks."""
    _compiler().start()


@cache
def _evaluator() -> Evaluator:
    return Evaluator()  # one for all checks: networks share many operations


@cache
def _compiler() -> Compiler:
    return Compiler()


def _quick_error(judge: Judge, program: Program, given: Values, exact: list[np.ndarray] | None) -> float:
    """Return the error against float64's values, if there are some: then float32's need not be made one by one."""
    if exact is None:
        return np.inf
    try:
        return max(judge.errors(exact, judge.compiled(program, given)), default=0.0)
    except CrashError:
        return np.inf


def _locate(judge: Judge, program: Program, values: Values, name: str, dtype: str) -> CompilerFault | None:
    """Return the smallest part that is wrong; None where none is: roundings that grow."""
    found = smallest_part(judge, program, values)
    if found is None:
        return None
    part, apart = found
    operations = tuple((equation.primitive.name, equation.line) for equation in part.equations)
    fault = CompilerFault(name, dtype, apart.error, apart.how, operations, "", "", {})
    try:
        script = write_script(part, values, LIMITS[dtype])
    except ValueError as error:
        return fault._replace(printed=str(error))
    return fault._replace(script=script.text, printed=script.printed, arrays=script.arrays)


def _failed(fault: CompilerFault) -> Result:
    named = [f"{operation} at {line}" for operation, line in fault.operations[:MOST_NAMED]]
    if len(fault.operations) > MOST_NAMED:
        named.append(f"{len(fault.operations) - MOST_NAMED} more")
    size = f"is off by {fault.error:.1e}" if np.isfinite(fault.error) else "is infinite or NaN where it is not"
    how = f"ends the process, {fault.ended}" if fault.ended else size
    words = f"the compiler is wrong here, not the port: under jax.jit, {fault.dtype} {fault.program} {how};"
    words += f" the smallest part that shows it: {', '.join(named)}"
    operation, line = fault.operations[-1]
    failure = Failure(CHECK, STAGE, line, fault.error, LIMITS[fault.dtype], words, fault)
    return Result(CHECK, fault.error, LIMITS[fault.dtype], operation, "", failure)
