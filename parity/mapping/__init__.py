"""How the arrays of a JAX model are made from PyTorch's tensors: rules, all usual candidates, files, emitted code."""
