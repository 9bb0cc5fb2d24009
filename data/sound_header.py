"""What the header of a sound file says of its length: mended where it was written before the sound, checked elsewhere.

A program that writes to a pipe cannot go back to the header, so it states a length of 0 or the largest possible. Any
other length beyond the end of the file means that the file is cut short, which libsndfile does not report.

Formats: IBM and Microsoft 1991, the RIFF WAVE form; EBU Tech 3306 (RF64); Apple, "Core Audio Format Specification";
Sun Microsystems, the header of AU; RFC 3533 (Ogg).
"""

import io
import re
import struct
from pathlib import Path
from typing import BinaryIO, NamedTuple

from data.errors import DataError
from data.mp3 import start_of, with_length

UNKNOWN = (range(2**31 - 2**12, 2**31), range(2**32 - 2**12, 2**32))  # stated by sox and ffmpeg, of 32 bits
PAGE = 27 + 255 + 255 * 255  # the largest Ogg page
# What libsndfile says of other formats: "SSND : 8008 (should be 4786)"; of the whole file it is no matter.
SHORTER = re.compile(r"^ *(SSND|BODY|Data [Ss]ize|riff|Data length) *:? (\d+)(?: \(should be| should be) (\d+)", re.M)

TRUNCATED = re.compile(r"(?i)file seems to be truncated|truncated file")  # of some more formats


class Body(NamedTuple):
    """Where the samples lie in a file."""

    start: int
    stated: int  # bytes, by the header; 0 if it does not know
    field: int  # where the header states it
    form: str  # as which number, for `struct`
    frame: int = 1  # bytes of a frame; 1 if that is not fixed


class Overlaid(io.RawIOBase):
    """A file of which some bytes may be replaced.

    A place that no file has is -1 as in C, since libsndfile calls these functions and an exception would be printed.
    """

    def __init__(self, file: "BinaryIO | Overlaid", at: int = 0, content: bytes = b"") -> None:
        """Read `content` in place of what `file` has at `at`."""
        self.file, self.at, self.content, self.lost = file, at, content, False

    def readinto(self, buffer) -> int:
        """Read into a buffer."""
        start = self.file.tell()
        piece = bytearray(self.file.read(len(buffer)))
        low, high = max(self.at, start), min(self.at + len(self.content), start + len(piece))
        if low < high:
            piece[low - start : high - start] = self.content[low - self.at : high - self.at]
        buffer[: len(piece)] = piece
        return len(piece)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Move in the file."""
        try:
            found = self.file.seek(offset, whence)
        except (ValueError, OverflowError):
            found = -1
        self.lost = found < 0
        return found

    def tell(self) -> int:
        """Return the place in the file."""
        return -1 if self.lost else self.file.tell()


def mended(path: Path, file: BinaryIO) -> BinaryIO | Overlaid:
    """Return the file, with the length of its sound in the header if that does not state it.

    Raises:
        DataError: the file is empty, or it ends before the length that the header states.
    """
    size, head = file.seek(0, io.SEEK_END), _read(file, 0, 4096)
    if size == 0:
        raise DataError(f"{path}: expected a sound, found an empty file")
    if head[:4] == b"OggS":
        _check_pages(path, file, size)
    elif head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] >= 0xE0):
        _check_mp3(path, file, size)
        return with_length(file) or file
    body = _body(file, head)
    if body is None:
        return file
    left = size - body.start
    if body.stated > left and not _is_unknown(body):
        raise cut_short(path, body.stated // body.frame, left // body.frame, "frames" if body.frame > 1 else "bytes")
    if left and (_is_unknown(body) or (body.stated == 0 and not _are_chunks(file, body.start, size))):
        limit = 2 ** (8 * struct.calcsize(body.form)) - 1
        return Overlaid(file, body.field, struct.pack(body.form, min(left, limit)))
    return file


def check_log(path: Path, log: str) -> None:
    """Raise a DataError if libsndfile has found less than the header states."""
    for _, stated, found in SHORTER.findall(log):
        if int(stated) > int(found) and not any(int(stated) in values for values in UNKNOWN):
            raise cut_short(path, int(stated), int(found), "bytes")
    if TRUNCATED.search(log):
        raise DataError(f"{path}: cut short; fetch the file again")


def cut_short(path: Path, promised: int, found: int, unit: str = "frames") -> DataError:
    """Return the error for a file that holds less than its header states."""
    return DataError(f"{path}: its header promises {promised} {unit}, found only {found}; fetch the file again")


def stated_frames(head: bytes) -> int:
    """Return how many frames a NIST SPHERE header states, which libsndfile does not compare; 0 for other files."""
    found = re.search(rb"sample_count -i (\d+)", head) if head.startswith(b"NIST_1A") else None
    return int(found[1]) if found else 0


def states_length(head: bytes) -> bool:
    """Return whether the length of an MP3 is stated and not estimated from its bit rate."""
    return b"Xing" in head or b"Info" in head


def _read(file: BinaryIO, at: int, count: int) -> bytes:
    if at >= 2**63:  # by a damaged header; no file can be searched there
        return b""
    file.seek(at)
    return file.read(count)


def _is_unknown(body: Body) -> bool:
    if struct.calcsize(body.form) == 8:
        return body.stated >= 2**63 - 2**12
    return any(body.stated in values for values in UNKNOWN)


def _body(file: BinaryIO, head: bytes) -> Body | None:
    """Find the samples in a RIFF, RF64, CAF or AU file; None in others, and if there are none."""
    if head[:4] in (b"RIFF", b"RF64", b"BW64", b"RIFX") and head[8:12] == b"WAVE":
        return _body_of_chunks(file, 12, ">I" if head[:4] == b"RIFX" else "<I")
    if head[:4] == b"caff":
        return _body_of_chunks(file, 8, ">Q")
    if head[:4] == b".snd" and len(head) >= 24:
        start, stated = struct.unpack(">II", head[4:12])
        return Body(start, stated, 8, ">I")
    return None


def _body_of_chunks(file: BinaryIO, at: int, form: str) -> Body | None:
    """Find the chunk of the samples; its length is in the chunk "ds64" of an RF64 file."""
    width, long, frame = struct.calcsize(form), None, 1
    while len(head := _read(file, at, 4 + width)) == 4 + width:
        name, (length,), start = head[:4], struct.unpack(form, head[4:]), at + 4 + width
        if name == b"data":
            if long is not None and length >= UNKNOWN[1].start:
                return Body(start, struct.unpack("<Q", _read(file, long, 8))[0], long, "<Q", frame)
            return Body(start, length, at + 4, form, frame)
        if name == b"ds64":
            long = start + 8
        if name == b"fmt " and len(about := _read(file, start, 14)) == 14:
            coding, frame = struct.unpack(form[0] + "H10xH", about)
            frame = max(1, frame) if coding in (1, 3, 6, 7, 0xFFFE) else 1  # others: bytes of a block
        at = start + length + (length % 2 if width == 4 else 0)
    return None


def _are_chunks(file: BinaryIO, at: int, end: int) -> bool:
    """Return whether chunks follow up to the end, as behind a file that holds no samples."""
    while at < end:
        head = _read(file, at, 8)
        if len(head) < 8 or not head[:4].isascii() or not head[:4].decode().isprintable():
            return False
        at += 8 + struct.unpack("<I", head[4:])[0]
        at += at % 2
    return at <= end + 1


def _check_pages(path: Path, file: BinaryIO, size: int) -> None:
    """Check that the last page of an Ogg file is whole."""
    start = max(0, size - 2 * PAGE)
    tail = _read(file, start, 2 * PAGE)
    at = tail.rfind(b"OggS")
    lengths = tail[at + 27 : at + 27 + tail[at + 26]] if 0 <= at < len(tail) - 27 else b""
    end = start + at + 27 + len(lengths) + sum(lengths)
    if at >= 0 and (not lengths or len(lengths) < tail[at + 26] or end > size):
        raise DataError(f"{path}: its last page is cut short; fetch the file again")


def _check_mp3(path: Path, file: BinaryIO, size: int) -> None:
    """Compare the size of an MP3 with that in the header of its encoder, if there is one."""
    at = start_of(file)
    first = _read(file, at, 64)
    tag = max(first.find(b"Xing"), first.find(b"Info"))
    if tag < 0 or len(first) < tag + 16:
        return
    flags = int.from_bytes(first[tag + 4 : tag + 8])
    if flags & 2:  # the size is stated, behind the number of frames if that is
        place = tag + (12 if flags & 1 else 8)
        stated, left = int.from_bytes(first[place : place + 4]), size - at
        if stated > 1.01 * left:  # tools that edit tags leave small differences
            raise cut_short(path, stated, left, "bytes")
