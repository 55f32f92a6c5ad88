"""The one error that a user's mistake ends in."""


class PrivadvError(Exception):
    """A mistake a user can mend: one line that names the file, key or value and says the mend."""
