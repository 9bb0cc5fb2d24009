"""The two frameworks behind one interface: any PyTorch module, any JAX model, their inputs and their outputs."""
