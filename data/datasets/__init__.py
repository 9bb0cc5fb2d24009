"""One file per dataset, discovered automatically; each has a dict `DATASETS`."""
