"""The checks of a pair: layer by layer (`layers`), operation by operation (`operations`), of a registered network."""
