"""The one exception for what a user can mend: a wrong value, a missing file, a model not here."""


class InputError(ValueError):
    """Something that was asked for cannot be done; the message says what is allowed instead.

    An argument stands between backticks, as one would write it: ``choose `dtype='float16'` ``. The
    command line shows the message as one line, with its flags for arguments, and exits with code 2.
    """
