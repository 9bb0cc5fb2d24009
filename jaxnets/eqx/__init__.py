"""LeNet-5 in Equinox, beside Linen, NNX and PyTorch; see docs/nnx.md. Needs the extra `equinox`."""
