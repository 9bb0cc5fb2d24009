"""The error that all of this project raises for what the user can put right."""


class UserError(ValueError):
    """Something the user can put right; its text is the one line that a command prints."""
