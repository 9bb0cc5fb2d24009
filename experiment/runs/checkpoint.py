"""Checkpoints: everything that a training resumes from, used only if every file has the recorded SHA-256."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from data.errors import UserError
from experiment.runs import atomic
from experiment.runs.snapshot import bad_tensors
from experiment.weights.safetensors_file import pack, unpack

FOLDER, MANIFEST, STATE, BEST = "checkpoints", "manifest.json", "state.safetensors", "best.safetensors"
MANIFEST_LIMIT = 2**26  # bytes: a manifest holds a line for each epoch, no more
FIELDS = {
    "format": int,
    "step": int,
    "about": dict,
    "data": dict,
    "config": dict,
    "rows": list,
    "epochs": list,
    "counts": (list, type(None)),
    "best": dict,
    "files": dict,
}
VARIABLES, AVERAGE = "variables/", "average/"


class Damaged(UserError):
    """A checkpoint is not what was written; the message names the file."""


class Checkpoint(NamedTuple):
    """The contents of a checkpoint."""

    path: Path
    manifest: dict[str, Any]
    state: dict[str, np.ndarray]  # from `LoopState.state`: weights, optimizer, average, generators
    best: dict[str, np.ndarray]  # the best epoch's weights, for early stopping

    def weights(self) -> dict[str, np.ndarray]:
        """Return the weights to evaluate, by the framework's names: the moving average's if there is one."""
        prefix = AVERAGE if any(name.startswith(AVERAGE) for name in self.state) else VARIABLES
        return {name.removeprefix(prefix): array for name, array in self.state.items() if name.startswith(prefix)}


def save(
    run: Path,
    manifest: Mapping[str, Any],
    state: Mapping[str, np.ndarray],
    best: Mapping[str, np.ndarray],
    keep: int,
) -> Path:
    """Write a checkpoint, then remove the oldest beyond `keep`, except that of the best epoch.

    Args:
        run: the run folder.
        manifest: its "step" gives the folder's name; its "best" has the "step" at the end of the best epoch.
        state: see `Checkpoint`.
        best: see `Checkpoint`; may be empty.
        keep: how many to keep, at least 1.

    Raises:
        UserError: it cannot be written; the previous ones are unchanged.
    """
    files = {STATE: pack(state)} | ({BEST: pack(best)} if best else {})
    sums = {name: {"sha256": sha256(content), "bytes": len(content)} for name, content in files.items()}
    whole = {**manifest, "files": sums}
    path = run / FOLDER / f"step-{manifest['step']:09}"
    if best_folder(path, manifest) == path:  # until this one is there, no other passes for the best
        atomic.unlink(path.with_name("best"))
    atomic.write_folder(path, files | {MANIFEST: json.dumps({**whole, "sha256": digest(whole)}).encode()})
    set_links(path, manifest)
    for old in folders(run)[keep:]:
        if old != best_folder(path, manifest):
            shutil.rmtree(old, ignore_errors=True)
    return path


def best_folder(path: Path, manifest: Mapping[str, Any]) -> Path:
    """Return where the checkpoint of the best epoch is, by the manifest of the checkpoint in `path`."""
    return path.with_name(f"step-{manifest['best']['step']:09}")


def set_links(path: Path, manifest: Mapping[str, Any]) -> None:
    """Make the links say the truth: `last` is this checkpoint; `best` its best epoch's, or is not there."""
    atomic.link(path.with_name("last"), path.name)
    best = best_folder(path, manifest)
    if best.exists():
        atomic.link(path.with_name("best"), best.name)
    else:
        atomic.unlink(path.with_name("best"))


def folders(run: Path) -> list[Path]:
    """Return the checkpoints' folders, the newest first."""
    return sorted((run / FOLDER).glob("step-" + "[0-9]" * 9), reverse=True)


def clean(run: Path) -> None:
    """Remove the partial files of a process that was killed while saving."""
    for part in (run / FOLDER).glob("*.part"):
        if part.is_symlink() or not part.is_dir():
            part.unlink(missing_ok=True)
        else:
            shutil.rmtree(part, ignore_errors=True)


def load(path: Path) -> Checkpoint:
    """Read a checkpoint's folder.

    Raises:
        Damaged: a file is missing or its hash differs; names the file and both hashes.
    """
    manifest = read_manifest(path)
    arrays = {}
    for name in (STATE, BEST):
        if name in manifest["files"]:
            arrays[name] = _read(path / name, manifest["files"][name])
    if STATE not in arrays:
        raise Damaged(f"{path / MANIFEST}: names no {STATE}")
    return Checkpoint(path, manifest, arrays[STATE], arrays.get(BEST, {}))


def read_manifest(path: Path) -> dict[str, Any]:
    """Read the manifest in a checkpoint's folder.

    Raises:
        Damaged: it is missing, or not the one that was written.
    """
    file = path / MANIFEST
    try:
        size = file.stat().st_size
        content = file.read_bytes() if size <= MANIFEST_LIMIT else b""
    except OSError as error:
        raise Damaged(f"{file}: cannot be read ({error.strerror})") from None
    if size > MANIFEST_LIMIT:
        raise Damaged(f"{file}: {size:,} bytes, expected at most {MANIFEST_LIMIT:,}")
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{file}: not JSON ({type(error).__name__})") from None
    # Not a byte may differ, even where it means the same: 1E-05 for 1e-05 is a flipped bit, too.
    exact = json.dumps(found).encode() == content
    claimed = found.pop("sha256", None) if isinstance(found, dict) else None
    if not isinstance(found, dict) or claimed != digest(found) or not exact:
        raise Damaged(f"{file}: not what was written: its own SHA-256 says {claimed}, found {digest(found)}")
    if odd := [name for name, kind in FIELDS.items() if not isinstance(found.get(name), kind)]:
        raise Damaged(f"{file}: not a manifest of this version, '{odd[0]}' is {type(found.get(odd[0])).__name__}")
    return found


def newest(run: Path) -> tuple[Checkpoint | None, list[str]]:
    """Return the newest intact checkpoint of a run whose state is finite, if any, and the fault of each newer one."""
    skipped = []
    for path in folders(run):
        try:
            found = load(path)
            if bad := bad_tensors(found.state):  # earlier versions saved such states
                raise Damaged(f"{path / STATE}: '{bad[0]}' is not finite")
            return found, skipped
        except Damaged as error:
            skipped.append(str(error))
    return None, skipped


def sha256(content: bytes) -> str:
    """Return the SHA-256 of bytes, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def digest(manifest: Any) -> str:
    """Return the SHA-256 of a manifest, independent of the order of its keys and of white space."""
    return sha256(json.dumps(manifest, sort_keys=True).encode())


def _read(file: Path, expected: Mapping[str, Any]) -> dict[str, np.ndarray]:
    try:
        size = file.stat().st_size  # before anything is read: a file put in its place may be of any size
        if size != expected["bytes"]:
            raise Damaged(f"{file}: {size:,} bytes, expected {expected['bytes']:,}")
        content = file.read_bytes()
    except OSError as error:
        raise Damaged(f"{file}: cannot be read ({error.strerror})") from None
    if (found := sha256(content)) != expected["sha256"]:
        raise Damaged(f"{file}: SHA-256 is {found}, expected {expected['sha256']}")
    try:
        return unpack(content, file)  # the very bytes that were hashed
    except UserError as error:  # whoever wrote it has written its hash, too
        raise Damaged(str(error)) from None
