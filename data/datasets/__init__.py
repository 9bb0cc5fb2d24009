"""One file per dataset; each registers itself in a dict `DATASETS`, and is found by itself."""
