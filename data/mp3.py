"""The length of MP3 files, which libsndfile takes from the header of the encoder, else estimates from the bit rate.

Formats: ISO/IEC 11172-3 and 13818-3, layer III; Konrad Windszus, "MPEG Audio Frame Header" (the Xing header).
"""

import io
from typing import BinaryIO, NamedTuple

RATES = (44100, 48000, 32000)  # Hz, of MPEG 1; MPEG 2 has half of them, MPEG 2.5 a quarter
BIT_RATES = {  # kbit/s by whether it is MPEG 1
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


class Frame(NamedTuple):
    """A frame of layer III."""

    first: bool  # of MPEG 1
    size: int  # bytes
    mono: bool

    @property
    def tag(self) -> int:
        """Where the header of the encoder lies in the frame: behind the side information."""
        return 4 + ((17 if self.mono else 32) if self.first else (9 if self.mono else 17))


def start_of(file: BinaryIO) -> int:
    """Return where the sound begins, behind a tag (ID3)."""
    file.seek(0)
    head = file.read(10)
    return 10 + sum(byte << (7 * (3 - at)) for at, byte in enumerate(head[6:10])) if head[:3] == b"ID3" else 0


def read_frame(head: bytes) -> Frame | None:
    """Read the header of a frame; None if it is none, or of no stated size."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, bit_rate, rate = (head[1] >> 3) & 3, head[2] >> 4, (head[2] >> 2) & 3
    if version == 1 or bit_rate in (0, 15) or rate == 3:
        return None
    first = version == 3
    samples_a_second = RATES[rate] >> {3: 0, 2: 1, 0: 2}[version]
    size = (144 if first else 72) * 1000 * BIT_RATES[first][bit_rate - 1] // samples_a_second + ((head[2] >> 1) & 1)
    return Frame(first, size, head[3] >> 6 == 3)


def with_length(file: BinaryIO) -> BinaryIO | None:
    """Return an MP3 with a header that states its length; None if it has one, or is not understood.

    Without it libsndfile ends a file of varying bit rate too early.
    """
    start = start_of(file)
    file.seek(start)
    content = file.read()
    frame = read_frame(content[:4])
    if frame is None or content[frame.tag : frame.tag + 4] in (b"Xing", b"Info") or content[36:40] == b"VBRI":
        return None
    count = at = 0
    while at < len(content):
        if found := read_frame(content[at : at + 4]):
            count, at = count + (at + found.size <= len(content)), at + found.size
        elif (at := content.find(b"\xff", at + 1)) < 0:
            break
    header = content[:4] + bytes(frame.tag - 4) + b"Info" + (1).to_bytes(4) + count.to_bytes(4)
    return io.BytesIO(header.ljust(frame.size, b"\0") + content)
