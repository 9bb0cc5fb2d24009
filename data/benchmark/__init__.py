"""What loading costs: this loader beside PyTorch's, grain's and a plain copy of the same bytes."""
