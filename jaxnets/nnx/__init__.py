"""Six of the networks in Flax NNX, line by line beside `jaxnets.models` and `torchnets.models`; see docs/nnx.md."""
