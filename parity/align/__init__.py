"""Two traces side by side: which values are the same, which weights are which, and where the two part."""
