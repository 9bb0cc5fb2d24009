"""What the errors of JAX and Flax mean for how a model is called."""

import re

import jax
from flax import errors


def is_traced_value(error: BaseException) -> bool:
    """Return whether JAX was asked for the value of a traced array."""
    kinds = (
        jax.errors.ConcretizationTypeError,
        jax.errors.TracerArrayConversionError,
        jax.errors.TracerIntegerConversionError,
        jax.errors.NonConcreteBooleanIndexError,
    )
    return isinstance(error, kinds)


def is_of_call(error: BaseException) -> bool:
    """Return whether an error may come from how a model is called here: what it is not given, or what is traced."""
    kinds = (
        jax.errors.JAXTypeError,
        errors.InvalidRngError,
        errors.ModifyScopeVariableError,
        errors.ScopeCollectionNotFound,
        errors.ScopeParamNotFoundError,
        errors.ScopeVariableNotFoundError,
        errors.TraceContextError,
    )
    return isinstance(error, kinds)


def is_mixed(error: BaseException) -> bool:
    """Return whether JAX may have refused to mix two precisions."""
    text = str(error)
    return (
        bool(re.search(r"dtype|same type|equal type|identical type|matching type", text))
        and "32" in text
        and "64" in text
    )


def wants_keys(error: BaseException) -> bool:
    """Return whether a Linen module asks for random numbers."""
    return isinstance(error, errors.InvalidRngError)


def wants_mutable(error: BaseException) -> bool:
    """Return whether a Linen module writes a collection in evaluation mode, such as a cache."""
    return isinstance(error, errors.ModifyScopeVariableError)
