"""Errors for optional packages that are missing."""

from data.errors import UserError


def needs_torch(what: str) -> UserError:
    """Return the error for a command that PyTorch is missing for."""
    extra = "pip install 'jaxnets[torch]', or in a clone pip install -c constraints.txt -e '.[torch]'"
    return UserError(f"{what} needs PyTorch, which is an extra: {extra}")
