"""The base class of errors that the user can correct."""


class UserError(ValueError):
    """An error that the user can correct; commands print its message as one line."""


class DataError(UserError):
    """A data file or an array is missing or invalid."""
