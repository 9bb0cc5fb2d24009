"""Pictures of what a trained network has learned, and of what happens in it for one input."""
