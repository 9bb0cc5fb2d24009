"""Unpacking an untrusted archive: its names, sizes and links are all checked."""

import gzip
import re
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

from data.base import DataError


def unpack(archive: Path, target: Path, *, wanted: str, max_bytes: int, root: str = ".") -> None:
    """Unpack the wanted files of a tar.gz into a new folder, which appears only when it is complete.

    Args:
        archive: the .tar.gz.
        target: the folder to create; must not exist.
        wanted: regular expression that matches the full name of a wanted file relative to `root`; other regular files
            are skipped.
        max_bytes: largest total size of the unpacked files.
        root: the folder of the archive that becomes `target`.

    Raises:
        DataError: the archive is damaged, too large or has none of the wanted files, or an entry is a link or a device
            or has a name that leads out of the folder.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as temporary:
            folder = Path(temporary) / target.name
            with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as tar:
                count = _unpack(tar, archive, folder, re.compile(wanted), max_bytes, PurePosixPath(root))
                while stream.read(2**20):  # tarfile accepts a truncated archive; reading gzip to its end detects it
                    pass
            if not count:
                raise DataError(f"{archive}: expected files named {wanted}, found none")
            folder.rename(target)
    except (tarfile.TarError, EOFError, zlib.error, OSError) as error:
        raise DataError(f"{archive}: cannot be unpacked ({type(error).__name__}: {error})") from None


def _unpack(
    tar: tarfile.TarFile, archive: Path, folder: Path, wanted: re.Pattern, max_bytes: int, root: PurePosixPath
) -> int:
    count = written = 0
    for member in tar:
        name = _safe_name(member, archive)
        if member.isdir() or not name.is_relative_to(root):
            continue
        inside = name.relative_to(root)
        if not wanted.fullmatch(inside.as_posix()):
            continue
        written += member.size
        if written > max_bytes:
            raise DataError(f"{archive}: holds more than the {max_bytes} bytes expected; nothing was kept")
        path, content = folder / inside, tar.extractfile(member)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Copy the bytes alone, without mode, owner or time; "x" refuses a duplicate name.
        with path.open("xb") as file:
            shutil.copyfileobj(content, file)  # pyright: ignore[reportArgumentType] (None only for what is not a file)
        count += 1
    return count


def _safe_name(member: tarfile.TarInfo, archive: Path) -> PurePosixPath:
    """Return the name of an entry; refuse links, devices and names that lead out of the folder."""
    name = PurePosixPath(member.name)
    if not (member.isfile() or member.isdir()):
        raise DataError(f"{archive}: '{member.name}' is neither a file nor a folder; nothing was kept")
    if name.is_absolute() or ".." in name.parts or "\\" in member.name:
        raise DataError(f"{archive}: the name '{member.name}' leads out of the folder; nothing was kept")
    return name
