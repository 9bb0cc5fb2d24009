"""What one side computed, operation by operation, with the line of the user's code that each came from."""
