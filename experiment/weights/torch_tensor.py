"""PyTorch's tensors as a pickle describes them: a storage, the offset in it, sizes and strides."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from data.errors import UserError
from experiment.weights.inert_pickle import Name, Opaque, Reference
from experiment.weights.small_floats import SMALL

DTYPES = {
    "float64": np.float64,
    "float32": np.float32,
    "float16": np.float16,
    **SMALL,
    "complex64": np.complex64,
    "complex128": np.complex128,
    "int64": np.int64,
    "int32": np.int32,
    "int16": np.int16,
    "int8": np.int8,
    "uint64": np.uint64,
    "uint32": np.uint32,
    "uint16": np.uint16,
    "uint8": np.uint8,
    "bool": np.bool_,
}
STORAGES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "UntypedStorage": "uint8",
}
SPECIAL = {  # function that rebuilds it: what numpy has no array for
    "torch._utils._rebuild_sparse_tensor": "sparse",
    "torch._utils._rebuild_qtensor": "quantized",
    "torch._utils._rebuild_nested_tensor": "nested",
    "torch._utils._rebuild_wrapper_subclass": "subclass of a",
}
SLACK = 2**26  # bytes that a tensor of repeated values may take beyond its storage


class Storage(NamedTuple):
    """The place of a block of numbers in the file, and their type."""

    dtype: str
    key: str
    start: int = 0  # of a view, in numbers
    content: memoryview | None = None  # of a storage inside the pickle itself


class Tensor(NamedTuple):
    """A tensor, not yet read."""

    storage: Storage
    dtype: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self, storages: Callable[[str], memoryview], swap: bool) -> np.ndarray:
        """Return the tensor's values; `storages` returns a storage's bytes by its key.

        Raises:
            ValueError: the tensor is not within its storage.
        """
        dtype, inside = np.dtype(DTYPES[self.dtype]), self.storage.content
        content = storages(self.storage.key) if inside is None else inside
        start = self.offset * dtype.itemsize + self.storage.start * np.dtype(DTYPES[self.storage.dtype]).itemsize
        if self.offset < 0 or self.storage.start < 0 or any(n < 0 for n in (*self.shape, *self.strides)):
            raise ValueError("a negative size")
        count = math.prod(self.shape)
        if count == 0:
            return np.empty(self.shape, dtype)
        last = sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if start + (last + 1) * dtype.itemsize > len(content):
            raise ValueError(f"needs {start + (last + 1) * dtype.itemsize:,} bytes, its storage has {len(content):,}")
        if count * dtype.itemsize > len(content) + SLACK:
            raise ValueError(f"would take {count * dtype.itemsize:,} bytes, its storage has {len(content):,}")
        found = np.ndarray(self.shape, dtype, content, start, [stride * dtype.itemsize for stride in self.strides])
        return found.byteswap() if swap else found


class Unreadable(NamedTuple):
    """A tensor that numpy cannot hold."""

    kind: str  # in words


def make(name: str, arguments: Any) -> Any:
    """Return what a call in a pickle of PyTorch's makes: a `Tensor`, `Unreadable` or plain value, else NotImplemented.

    Raises:
        ValueError, TypeError: the arguments are not those that PyTorch writes.
    """
    match name, arguments:
        case (
            "torch._utils._rebuild_tensor" | "torch._utils._rebuild_tensor_v2",
            (storage, offset, shape, strides, *_),
        ):
            return _tensor(storage, None, offset, shape, strides)
        case "torch._utils._rebuild_tensor_v3", (storage, offset, shape, strides, _, _, dtype, *_):
            return _tensor(storage, dtype, offset, shape, strides)
        case (
            "torch._utils._rebuild_parameter"
            | "torch._utils._rebuild_parameter_with_state"
            | "torch.nn.parameter.Buffer",
            (tensor, *_),
        ):
            return tensor
        case "torch._tensor._rebuild_from_type_v2", (Name() as function, _, inner, *_):
            return make(str(function), inner)
        case "torch._utils._rebuild_meta_tensor_no_storage", (dtype, *_):
            return Unreadable(f"strided {_dtype(dtype)} tensor on 'meta'")
        case "torch.storage.TypedStorage" | "torch.storage._TypedStorage", (Storage() as storage, Name(_, kind), *_):
            return storage._replace(dtype=kind)
        case "torch.Size", (tuple() as sizes,):
            return sizes
        case "torch.nn.parameter.Parameter", (Tensor() as tensor, *_):
            return tensor
    return Unreadable(f"{SPECIAL[name]} tensor") if name in SPECIAL else NotImplemented


def _tensor(storage: Any, dtype: Any, offset: Any, shape: Any, strides: Any) -> Any:
    place = storage_of(storage)
    if place is None:
        return Unreadable("tensor without a storage")
    kind = _dtype(dtype) if dtype is not None else place.dtype
    if place.dtype not in DTYPES or kind not in DTYPES:
        return Unreadable(f"{kind if kind not in DTYPES else place.dtype} tensor")
    sizes = *_sizes(shape), *_sizes(strides), offset
    if len(_sizes(shape)) != len(_sizes(strides)) or len(shape) > 32 or not all(type(n) is int for n in sizes):
        raise ValueError("a tensor whose shape is none")
    return Tensor(place, kind, offset, tuple(shape), tuple(strides))


def _sizes(found: Any) -> tuple[Any, ...]:
    if not isinstance(found, (tuple, list)):
        raise ValueError("a tensor whose shape is none")
    return tuple(found)


def storage_of(found: Any) -> Storage | None:
    """Return the storage for a persistent id ("storage", type, key, device, size[, view]), or a storage itself."""
    if isinstance(found, Storage):
        return found
    match found.value if isinstance(found, Reference) else None:
        case ("storage" | b"storage", Name(_, kind), str() | int() as key, _, _, *view):
            start = view[0][1] if view and isinstance(view[0], tuple) and len(view[0]) == 3 else 0
            return Storage(STORAGES.get(kind, kind), str(key), start if type(start) is int else -1)
    return None


def item_size(storage: str) -> int:
    """Return the bytes of a number in a storage of this type, "FloatStorage"."""
    if storage in STORAGES:
        return np.dtype(DTYPES[STORAGES[storage]]).itemsize
    return 4 if storage == "QInt32Storage" else 1  # the quantized ones


def _dtype(found: Any) -> str:
    return found.name if isinstance(found, Name) else "unknown"


def cannot_hold(source: str, name: str, kind: str) -> UserError:
    """Return the error for a tensor that numpy has no array for."""
    return UserError(f"{source}: '{name}' is a {kind}, which numpy cannot hold; {advice()}")


def advice(what: str = "model.state_dict()") -> str:
    """Return what to do instead of saving more than tensors."""
    return f"save the tensors alone: torch.save({what}, FILE)"


def called(value: Any) -> str:
    """Return the type of a value of a pickle, in PyTorch's words."""
    if isinstance(value, (Tensor, Unreadable)):
        return "Tensor"
    return value.name if isinstance(value, Opaque) else type(value).__name__
