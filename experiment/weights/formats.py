"""What a file of weights is, by its content: its format, or what it is instead and what to do about that."""

import json
import struct
import zipfile
from pathlib import Path

from data.errors import UserError

HEAD = 4096  # bytes that are looked at
FOREIGN = (  # the first bytes of a file that is something else, what it is, and what to do
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file (Keras writes them)", "save the arrays with numpy.savez"),
    (b"GGUF", "a GGUF file", "its quantized weights are for llama.cpp alone; take the original's"),
    (b"\x1f\x8b", "compressed by gzip", "unpack it first"),
    (b"BZh", "compressed by bzip2", "unpack it first"),
    (b"\xfd7zXZ\x00", "compressed by xz", "unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", "unpack it first"),
    (b"Rar!", "a RAR archive", "unpack it first"),
    (b"\x93NUMPY", "a single array (.npy)", "save all of them by name: numpy.savez(FILE, **arrays)"),
    (b"\x89PNG", "a picture", "name the file of weights"),
    (b"\xff\xd8\xff", "a picture", "name the file of weights"),
    (b"%PDF", "a PDF document", "name the file of weights"),
)
LFS = b"version https://git-lfs"
TORCHSCRIPT = "a TorchScript archive (torch.jit.save)"


def kind_of(path: Path) -> str:
    """Return a file's format: "safetensors", "index", "npz", "torch", "torch stream" or "msgpack".

    Raises:
        UserError: it cannot be read, or is something else; says what, and what to do.
    """
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not size:
        raise UserError(f"{path}: is empty (0 bytes); the save or the download was cut off: get it again")
    if head.startswith(b"PK"):
        return _kind_of_zip(path)
    if _is_safetensors(head):
        return "safetensors"
    if head[:1] == b"\x80" and head[1:2] in b"\0\1\2\3\4\5":
        return "torch stream"
    _refuse_foreign(path, head, size)
    if head[0] in (*range(0x81, 0x90), 0xDE, 0xDF):  # a map of at least one entry
        return "msgpack"
    if head.lstrip()[:1] == b"{":
        return "index"
    raise _unknown(path, head, size)


def _is_safetensors(head: bytes) -> bool:
    """Tell a safetensors file: 8 bytes with the header's length, then the header, which is JSON."""
    return len(head) >= 9 and head[8:9] == b"{" and 2 <= struct.unpack("<Q", head[:8])[0] <= 2**32


def _kind_of_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError):
        what = (
            "damaged, or not a file of tensors by torch.save; the end of the archive is missing: get or save it again"
        )
        raise UserError(f"{path}: {what}") from None
    tops = [name.split("/", 1)[-1] for name in names]
    if "constants.pkl" in tops or any(name.startswith("code/") for name in tops):
        how = f"with PyTorch: torch.save(torch.jit.load({str(path)!r}).state_dict(), 'weights.pth')"
        raise UserError(f"{path}: is {TORCHSCRIPT}, a program with its weights, and was not loaded; {how}")
    if any(name.rpartition("/")[2] in ("archive_format", "serialized_exported_program.json") for name in names):
        how = f"with PyTorch: torch.save(torch.export.load({str(path)!r}).state_dict, 'weights.pth')"
        raise UserError(f"{path}: is a program by torch.export, and was not loaded; {how}")
    if any(name == "data.pkl" or name.endswith("/data.pkl") for name in names):
        return "torch"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    if any(name.rpartition("/")[2] in ("model.weights.h5", "config.json") for name in names):
        raise UserError(f"{path}: is a Keras archive; save the arrays with numpy.savez")
    listed = ", ".join(name if name.isprintable() else ascii(name) for name in names[:3]) or "nothing"
    raise UserError(
        f"{path}: is a zip archive of {listed}, not of tensors by torch.save; unpack it and name the file in it"
    )


def _refuse_foreign(path: Path, head: bytes, size: int) -> None:
    """Raise a UserError if the content is that of a known format that holds no weights."""
    for first, what, todo in FOREIGN:
        if head.startswith(first):
            raise UserError(f"{path}: is {what}; {todo}")
    if head[257:262] == b"ustar":
        raise UserError(f"{path}: is a tar archive; unpack it and name the file in it")
    text = head.lstrip(b"\xef\xbb\xbf \r\n\t").lower()
    if text.startswith(LFS):
        raise UserError(f"{path}: is a Git LFS pointer of {size} bytes, not the weights; fetch them: git lfs pull")
    if b"/annex/objects/" in head[:300] and size < HEAD:
        raise UserError(f"{path}: is a git-annex pointer, not the weights; fetch them: git annex get")
    if text.startswith((b"<!doctype", b"<html", b"<head", b"<?xml", b"<!--", b"<error")):
        shown = "an HTML page" if b"<html" in text or b"<!doctype html" in text or b"<head" in text else "an XML text"
        raise UserError(
            f"{path}: is {shown}, most likely the error page of a failed download; download it again, by the file's "
            "direct address"
        )
    if not any(head):
        raise UserError(f"{path}: begins with {len(head):,} zero bytes; the download was not completed: get it again")


def _unknown(path: Path, head: bytes, size: int) -> UserError:
    known = "expected weights: torch.save, safetensors or its index, npz, Flax msgpack, or a folder of orbax"
    try:
        text = head[: HEAD // 2].decode()
    except UnicodeDecodeError as error:
        text = head[: error.start].decode() if error.start > HEAD // 2 - 4 else ""
    if text.strip() and all(char.isprintable() or char.isspace() for char in text):
        start = " ".join(text.split())[:40]
        return UserError(f"{path}: is a text of {size:,} bytes ({start!r}), not weights; {known}")
    return UserError(f"{path}: damaged, or of a format that is not known; {known}")


def read_index(path: Path) -> dict[str, str]:
    """Return the file of every tensor, by its name, from the index of sharded weights (Hugging Face's).

    Raises:
        UserError: it is no such index, or a file in it is not a plain name beside the index.
    """
    try:
        content = path.read_bytes() if path.stat().st_size <= 2**27 else b""
        found = json.loads(content)
    except (ValueError, RecursionError):
        raise UserError(f"{path}: begins like JSON, but is none; expected the index of sharded weights") from None
    places = found.get("weight_map") if isinstance(found, dict) else None
    if not isinstance(places, dict) or not places:
        keys = (
            ", ".join(ascii(key)[:40] for key in list(found)[:5]) if isinstance(found, dict) else type(found).__name__
        )
        why = "an error message or another file's settings" if isinstance(found, dict) else "no index"
        raise UserError(f"{path}: is JSON without a 'weight_map' ({keys}): {why}, not the index of sharded weights")
    for name in places.values():
        if not isinstance(name, str) or name in ("", ".", "..") or set(name) & {"/", "\\", "\0"}:
            raise UserError(f"{path}: names {ascii(name)[:60]}, expected the plain name of a file beside it")
    return places
