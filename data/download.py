"""Downloading a file and checking its SHA-256."""

from collections.abc import Sequence
from pathlib import Path

from data.base import DataError


def fetch(mirrors: Sequence[str], path: Path, sha256: str, *, timeout: float = 30) -> None:
    """Download `path` from the first mirror that serves a file with the right hash.

    The final path appears only after the hash is checked: pooch writes to a temporary file beside it.

    Args:
        mirrors: URLs of the same file, tried in order.
        path: the file to write; an existing file with the right hash is kept.
        sha256: expected hash, in hexadecimal.
        timeout: seconds to wait for an answer of a mirror.

    Raises:
        DataError: every mirror failed; the message has the reason of each.
    """
    import pooch  # here: it takes 0.2 s to import, and only a download needs it

    pooch.get_logger().setLevel("WARNING")
    failures = []
    for url in mirrors:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            pooch.retrieve(
                url,
                known_hash=f"sha256:{sha256}",
                fname=path.name,
                path=path.parent,
                # pooch's downloader does not match pooch's own protocol, which names the arguments differently.
                downloader=pooch.HTTPDownloader(timeout=timeout),  # pyright: ignore[reportArgumentType]
            )
            return
        except ValueError:  # pooch raises it for a wrong hash
            failures.append(f"{url}: not the bytes expected (SHA-256 {sha256[:12]}...)")
        except OSError as error:  # includes the exceptions of requests
            failures.append(f"{url}: {type(error).__name__}: {str(error).splitlines()[0]}")
    raise DataError(f"cannot download {path.name}. " + "; ".join(failures))
