"""Finding the pictures or sounds of a folder: the part and the class of each, and what is not used and why."""

import os
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from data import pictures, sound
from data.errors import DataError

PARTS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
# Folders that file managers, archivers and network drives make; they hold no pictures, or thumbnails of them.
SYSTEM = {"__MACOSX", "__pycache__", "@eaDir", "#recycle", "$RECYCLE.BIN", "lost+found", "System Volume Information"}
OUTSIDE = "outside the class folders"

Files = dict[str, list[Path]]  # the files of each class


class Kind(NamedTuple):
    """What the files of a folder are."""

    name: str
    suffixes: tuple[str, ...]
    none: str  # the message that there are none
    others: str  # and which suffixes they may have, too


PICTURES = Kind("pictures", pictures.SUFFIXES, pictures.KNOWN, pictures.OTHERS)
SOUNDS = Kind("sounds", sound.SUFFIXES, sound.NONE, sound.OTHERS)
KINDS = (PICTURES, SOUNDS)


class NothingFoundError(DataError):
    """A folder holds no files of the kind that is looked for."""


class Layout(NamedTuple):
    """The files of a folder."""

    parts: dict[str, Files]  # by the names in PARTS, or "" for all if the folder has no parts
    unused: Counter[str]  # how many files are not used for each reason
    kind: Kind = PICTURES


class Search(NamedTuple):
    """What is looked for, and what is found beside it."""

    kind: Kind
    first_rules: bool
    unused: Counter[str]


def find_either(folder: Path, kinds: tuple[Kind, Kind]) -> Layout:
    """Find the files of the first kind, or if there are none at all those of the second; see `find`."""
    try:
        return find(folder, kind=kinds[0])
    except NothingFoundError as error:
        try:
            return find(folder, kind=kinds[1])
        except NothingFoundError:
            raise error from None


def find(folder: Path, *, first_rules: bool = False, kind: Kind = PICTURES) -> Layout:
    """Find the class folders, and the parts in which they are.

    Args:
        folder: the folder of the dataset.
        first_rules: as version 0.1.0: PNG and JPEG files that lie directly in a class folder of train/ and test/.
        kind: pictures or sounds.

    Raises:
        DataError: there are none, or the parts do not fit together.
    """
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; it should hold a folder of {kind.name} for each class")
    search = Search(kind, first_rules, Counter())
    found = _parts(folder, search)
    if not found:
        looked = f"{folder / 'train'}, {folder / 'test'} and {folder}/<class>/"
        return Layout({"": _classes(folder, looked, search)}, search.unused, kind)
    if "train" not in found or len(found) == 1:
        name = next(name for name in ("train", "test") if name not in found)
        missing = f"{folder / name} is missing"
        advice = f"; or --dataset {found['train']} splits that" if "train" in found else ""
        raise DataError(f"{folder}: found one of train/ and test/, expected both or neither; {missing}{advice}")
    if not first_rules:
        _look_beside(folder, set(found.values()), search)
    parts = {name: _classes(part, f"{part}/<class>/", search, name) for name, part in found.items()}
    for name, files in parts.items():
        if extra := sorted(files.keys() - parts["train"].keys()):
            raise DataError(f"{found[name]}: found classes that {found['train']} has not: {', '.join(extra)}")
    return Layout(parts, search.unused, kind)


def describe(unused: Counter[str]) -> str | None:
    """Return a line that counts what is not used, with the reasons; None if everything is."""
    if not unused:
        return None
    return "not used: " + ", ".join(f"{count:,} {reason}" for reason, count in sorted(unused.items()))


def _parts(folder: Path, search: Search) -> dict[str, Path]:
    """Return the folders of the parts; none if those named so are classes beside others, as in bus, car, train."""
    found: dict[str, Path] = {}
    folders = [path for path in sorted(folder.iterdir()) if path.is_dir() and not _is_hidden(path)]
    for path in folders:
        for name, names in PARTS.items():
            if path.name == name and name != "validation" if search.first_rules else path.name.lower() in names:
                if name in found:
                    raise DataError(f"{folder}: found {found[name].name}/ and {path.name}/, expected one of them")
                found[name] = path
    deciding = [found["train"]] if "train" in found else list(found.values())
    if not search.first_rules and len(folders) > len(found) and all(_holds_files(path, search) for path in deciding):
        return {}
    return found


def _holds_files(folder: Path, search: Search) -> bool:
    """Return whether files of the kind lie directly in a folder that has no folders."""
    inside = [path for path in folder.iterdir() if not _is_hidden(path)]
    return not any(path.is_dir() for path in inside) and any(_is_of(search.kind, path) for path in inside)


def _classes(folder: Path, looked: str, search: Search, part: str = "") -> Files:
    """Return the files of every class folder, sorted; `looked` describes the folder in messages."""
    folders = []
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not (path.name.startswith(".") if search.first_rules else _is_hidden(path)):
            folders.append(path)
        else:
            _count(path, search, OUTSIDE)
    found = {path.name: _files(path, search) for path in folders}
    none, others = search.kind.none, search.kind.others
    if not any(found.values()):
        loose = f", found {count:,} outside" if (count := search.unused[OUTSIDE]) else ""
        raise NothingFoundError(f"{none} in {looked}, {others}; expected a folder for each class{loose}")
    if empty := [name for name, files in found.items() if not files]:
        raise DataError(f"{folder}: {none} of {', '.join(empty)}, {others}")
    if not search.first_rules:
        _check_order(folder, found)
    if len(found) < 2 and part not in ("validation", "test"):
        inner = sorted(path.name for path in folders[0].iterdir() if path.is_dir() and not _is_hidden(path))
        advice = f"; for the classes {', '.join(inner[:5])} name {folders[0]}" if len(inner) > 1 else ""
        only = f"found only the class {', '.join(found)}; expected at least two, a folder for each"
        raise DataError(f"{folder}: {only}{advice}")
    return found


def _check_order(folder: Path, found: Files) -> None:
    """Refuse class folders that hold train/ and test/ themselves: mixing the two would be wrong."""
    names = {alias for aliases in PARTS.values() for alias in aliases}
    for name, files in found.items():
        inside = {path.relative_to(folder / name).parts[0] for path in files if path.parent != folder / name}
        if len(parts := sorted(part for part in inside if part.lower() in names)) > 1:
            expected = f"expected {folder}/{parts[0]}/{name}/"
            raise DataError(f"{folder / name}: found {' and '.join(parts)} inside a class; {expected} and so on")


def _files(folder: Path, search: Search) -> list[Path]:
    """Return the files in a folder, sorted; and those in the folders inside it, but not by the first rules."""
    if search.first_rules:
        first = search.kind._replace(suffixes=pictures.FIRST)
        files = (path for path in folder.iterdir() if _is_of(first, path) and path.is_file())
        return sorted(path for path in files if not path.name.startswith("."))
    found, seen = [], set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        hidden = [name for name in folders if _is_hidden(Path(name))]
        search.unused.update({"hidden": len(hidden)} if hidden else {})
        folders[:] = [name for name in folders if name not in hidden]
        for path in (Path(place, name) for name in names):
            if _is_of(search.kind, path) and not _is_hidden(path) and path.is_file():
                found.append(path)
            else:
                _count(path, search, "")
    return sorted(found)


def _look_beside(folder: Path, parts: set[Path], search: Search) -> None:
    """Count what lies beside the parts."""
    for path in folder.iterdir():
        if path not in parts:
            _count(path, search, f"beside {' and '.join(sorted(f'{part.name}/' for part in parts))}")


def _count(path: Path, search: Search, place: str) -> None:
    """Count a file or a folder that is not used, with the reason."""
    unused, name = search.unused, search.kind.name
    other = next(kind for kind in KINDS if kind is not search.kind)
    if _is_hidden(path):
        unused["hidden"] += 1
    elif not path.exists():
        unused["with a broken link"] += 1
    elif place and (path.is_dir() or _is_of(search.kind, path)):
        unused[place] += 1
    elif _is_of(other, path):
        unused[f"{other.name}, since the network takes {name}"] += 1
    else:
        unused[f"of kind {path.suffix.lower()}" if path.suffix else "without a suffix"] += 1


def _is_hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name in SYSTEM or path.name.lower() in ("thumbs.db", "desktop.ini")


def _is_of(kind: Kind, path: Path) -> bool:
    return path.suffix.lower() in kind.suffixes
