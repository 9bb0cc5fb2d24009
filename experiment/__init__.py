"""What both trainers share and neither owns: configuration, run folder, metrics, plots. Imports neither framework."""
