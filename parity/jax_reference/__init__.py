"""A JAX model as the reference of a port, in place of a PyTorch module: Linen to NNX, Haiku to Equinox."""
