"""Reading files of torch.save: the zip archive of PyTorch 1.6 and later, and the older stream of pickles.

Nothing in a file can run: its pickles are only interpreted (`inert_pickle`). PyTorch is not needed.
"""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np

from data.errors import UserError
from experiment.weights.inert_pickle import Name, Opaque, Reference, Refused, Seen, interpret
from experiment.weights.torch_tensor import Tensor, Unreadable, advice, cannot_hold, item_size, make, storage_of

MAGIC = 0x1950A86A20F9469CFC6C  # the first of an old file's pickles
# What a file calls that would do harm in a loader that runs it; such a file is refused as a whole.
HARMFUL_MODULES = {"os", "posix", "nt", "subprocess", "sys", "socket", "shutil", "runpy", "pty", "importlib", "ctypes"}
HARMFUL_NAMES = {"eval", "exec", "compile", "open", "__import__", "breakpoint", "input"}
AMPLIFIED = 16  # how many times the file's size all tensors together may take, when many share a storage
Storages = Callable[[str], memoryview]


class TorchFile(NamedTuple):
    """The content of a file of torch.save, its tensors not yet read."""

    root: Any
    storages: Storages
    swap: bool  # it was written on a machine of the other byte order

    def arrays(self, tensors: Mapping[str, Tensor | Unreadable], path: Path) -> dict[str, np.ndarray]:
        """Return tensors as arrays.

        Raises:
            UserError: one of them is damaged or of a kind that numpy cannot hold.
        """
        found, total, limit = {}, 0, AMPLIFIED * path.stat().st_size + 2**26
        for name, tensor in tensors.items():
            if isinstance(tensor, Unreadable):
                raise cannot_hold(str(path), name, tensor.kind)
            try:
                found[name] = tensor.read(self.storages, self.swap)
            except (ValueError, KeyError, OverflowError) as error:
                raise UserError(f"{path}: damaged, {_printable(name)} cannot be read ({error})") from None
            total += found[name].nbytes
            if total > limit:
                raise UserError(
                    f"{path}: its tensors would take more than {limit:,} bytes, {AMPLIFIED} times the file"
                )
        return found


def read_zip(path: Path, archive: zipfile.ZipFile) -> TorchFile:
    """Read the zip archive that torch.save has made.

    Raises:
        UserError: it is damaged, or names a function that would do harm.
    """
    entries = {info.filename: info for info in archive.infolist()}
    root = next(name for name in entries if name == "data.pkl" or name.endswith("/data.pkl"))
    folder = root.removesuffix("data.pkl")

    def content(name: str) -> memoryview:
        return _stored(path, entries[name])

    try:
        order = bytes(content(f"{folder}byteorder")) if f"{folder}byteorder" in entries else b"little"
        value, _ = _interpret(io.BytesIO(content(root)), path)
    except UserError:
        raise
    except (Refused, ValueError, OSError) as error:
        raise damaged(path, error) from None
    cache: dict[str, memoryview] = {}

    def storages(key: str) -> memoryview:
        if key not in cache:
            cache[key] = content(f"{folder}data/{key}")
        return cache[key]

    return TorchFile(value, storages, order == b"big")


def read_stream(path: Path) -> TorchFile | None:
    """Read the file of a PyTorch before 1.6: pickles one after another, then the storages.

    Python's own pickle of tensors, by pickle.dump, is read as well; None is returned if there are none in a pickle.

    Raises:
        UserError: it is damaged, or names a function that would do harm.
    """
    content = path.read_bytes()
    stream = io.BytesIO(content)
    try:
        first, seen = _interpret(stream, path)
        if first != MAGIC:
            whole = stream.tell() == len(content) and any(name.startswith("torch.") for name in seen.names)
            return TorchFile(first, _no_storage, False) if whole else None
        value, places, big = _read_stream(stream, memoryview(content), path)
    except UserError:
        raise
    except (Refused, ValueError, struct.error) as error:
        raise damaged(path, error) from None
    return TorchFile(value, places.__getitem__, big)


def _read_stream(stream: io.BytesIO, content: memoryview, path: Path) -> tuple[Any, dict[str, memoryview], bool]:
    """Return what is behind the magic number: the object, the storages by key, and whether it is big-endian."""
    _interpret(stream, path)  # the protocol's version
    system, _ = _interpret(stream, path)
    value, seen = _interpret(stream, path)
    keys, _ = _interpret(stream, path)
    big = isinstance(system, dict) and system.get("little_endian") is False
    return value, _places(content, stream.tell(), keys, seen.references), big


def _interpret(stream: io.BytesIO, path: Path, depth: int = 0) -> tuple[Any, Seen]:
    """Interpret a pickle of PyTorch's; refuse it if it names a function that would do harm."""
    seen = Seen(set(), [])

    def made(name: str, arguments: Any) -> Any:
        match name, arguments:
            case "_codecs.encode", (str() as text, "latin1" | "latin-1"):  # how an old protocol writes bytes
                return text.encode("latin-1")
            case "torch.storage._load_from_bytes", (bytes() as content,) if depth == 0:
                return _storage_in(content, path)
        return make(name, arguments)

    value = interpret(stream, made, seen)
    if bad := sorted(name for name in seen.names if harmful(name)):
        raise holds_more(path, bad[0])
    return value, seen


def _storage_in(content: bytes, path: Path) -> Any:
    """Return the storage in a pickle of pickle.dump, which holds a whole file of torch.save for each."""
    stream = io.BytesIO(content)
    if _interpret(stream, path, 1)[0] != MAGIC:
        raise ValueError("a storage that is none")
    value, places, _ = _read_stream(stream, memoryview(content), path)
    storage = storage_of(value)
    if storage is None or storage.key not in places:
        raise ValueError("a storage that is none")
    return storage._replace(content=places[storage.key])


def _no_storage(key: str) -> memoryview:
    raise KeyError(key)


def _places(content: memoryview, position: int, keys: Any, references: list[Reference]) -> dict[str, memoryview]:
    """Return each storage's bytes: behind the pickles, each one its number of values and then the values."""
    sizes, places = {}, {}
    for one in references:
        match one.value:
            case (_, Name(_, kind), str() | int() as key, *_):
                sizes[str(key)] = item_size(kind)
    for key in keys if isinstance(keys, list) else ():
        (count,) = struct.unpack_from("<q", content, position)
        size = count * sizes.get(str(key), 1)
        if count < 0 or position + 8 + size > len(content):
            raise ValueError("it ends too early")
        places[str(key)] = content[position + 8 : position + 8 + size]
        position += 8 + size
    if position != len(content):
        raise ValueError("something is left over at its end")
    return places


def _stored(path: Path, info: zipfile.ZipInfo) -> memoryview:
    """Return the bytes of an entry, which torch.save never compresses.

    Raises:
        ValueError: it is compressed, cut off, or its checksum differs.
    """
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ValueError(f"{_printable(info.filename)} is compressed, which torch.save never does")
    with path.open("rb") as file:
        file.seek(info.header_offset)
        header = file.read(30)
        if len(header) < 30 or header[:4] != b"PK\3\4":
            raise ValueError("an entry has no header")
        if info.header_offset + info.file_size > path.stat().st_size:
            raise ValueError("an entry is longer than the file")
        file.seek(sum(struct.unpack_from("<HH", header, 26)), 1)
        content = file.read(info.file_size)
    # PyTorch can leave checksums out, and then writes 0.
    if len(content) != info.file_size or (info.CRC and zlib.crc32(content) != info.CRC):
        raise ValueError(f"the checksum of {_printable(info.filename)} differs")
    return memoryview(content)


def harmful(name: str) -> bool:
    """Tell whether a global runs commands or code in a loader that calls it."""
    return name.split(".")[0] in HARMFUL_MODULES or name in HARMFUL_NAMES


def holds_more(path: Path, what: str) -> UserError:
    """Return the error for a file that is not only tensors; `what` is the first class or function in it."""
    return UserError(f"{path}: holds more than tensors ({what}) and was not loaded, nothing in it was run; {advice()}")


def damaged(path: Path, error: Exception | None = None) -> UserError:
    """Return the error for a file that cannot be one of torch.save's."""
    reason = f" ({error})" if error and str(error) else ""
    return UserError(f"{path}: damaged, or not a file of tensors by torch.save{reason}; {advice()}")


def is_module(value: Any) -> TypeGuard[Opaque]:
    """Tell whether a value is a whole module of PyTorch's: its class by name, and its parameters as its state."""
    return (
        isinstance(value, Opaque)
        and isinstance(value.state, dict)
        and {"_modules", "_parameters"} <= value.state.keys()
    )


def _printable(name: str) -> str:
    return f"'{name}'" if name.isprintable() else ascii(name)
