"""Training from a Python program: the parts that `jaxnets.program` and `torchnets.program` share."""
