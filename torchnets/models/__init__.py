"""One file per architecture family, the same file names as in `jaxnets.models`; found by themselves."""
