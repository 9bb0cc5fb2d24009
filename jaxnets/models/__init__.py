"""One file per architecture family, the same file names as in `torchnets.models`; found by themselves."""
