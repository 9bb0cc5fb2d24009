"""Records: what one side of a port computed, in a file, for a machine that has only the other framework."""
