"""Fetching a file and believing nothing but its SHA-256."""

from collections.abc import Sequence
from pathlib import Path

from data.base import DataError


def fetch(mirrors: Sequence[str], path: Path, sha256: str, *, timeout: float = 30) -> None:
    """Download `path` from the first mirror that has the right bytes.

    The final path appears only once the hash is right: pooch writes to a temporary file beside it.

    Args:
        mirrors: addresses of the same file, tried in order.
        path: where it goes; a file there that has the right hash is kept as it is.
        sha256: what the file must have, in hexadecimal.
        timeout: seconds without an answer before a mirror is given up.

    Raises:
        DataError: no mirror had it; says what each answered.
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
                # pooch's own downloader does not fit pooch's own type: its arguments have other names there.
                downloader=pooch.HTTPDownloader(timeout=timeout),  # pyright: ignore[reportArgumentType]
            )
            return
        except ValueError:  # pooch's word for a wrong hash
            failures.append(f"{url}: not the bytes expected (SHA-256 {sha256[:12]}...)")
        except OSError as error:  # requests' errors are OSErrors too
            failures.append(f"{url}: {type(error).__name__}: {str(error).splitlines()[0]}")
    raise DataError(f"cannot download {path.name}. " + "; ".join(failures))
