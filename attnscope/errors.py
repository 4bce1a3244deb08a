"""The one exception for what a user can mend: a wrong value, a missing file, a model not here."""


class InputError(ValueError):
    """Something that was asked for cannot be done; the message says what is allowed instead.

    The command line shows the message as one line and exits with code 2.
    """
