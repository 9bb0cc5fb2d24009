"""What a difference between two layers or two trainings looks like; a cause is named only if it reproduces it."""
