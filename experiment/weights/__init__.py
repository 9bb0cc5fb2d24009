"""Reading, checking and converting weights of either framework; numpy alone, PyTorch only for what it has loaded."""
