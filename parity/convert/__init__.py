"""Files of weights from one framework to the other: of a registered network (`files`), of a proved port (`port`)."""
