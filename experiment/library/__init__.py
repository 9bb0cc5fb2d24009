"""Training from a Python program: the parts that `jaxnets.library` and `torchnets.library` share."""
