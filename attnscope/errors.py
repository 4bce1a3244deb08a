"""The one exception for what a user can mend: a wrong value, a missing file, a model not here.

What other errors say is told in one line.
"""


class InputError(ValueError):
    """Something that was asked for cannot be done; the message says what is allowed instead.

    An argument stands between backticks, as one would write it: ``choose `dtype='float16'` ``. The
    command line shows the message as one line, with its flags for arguments, and exits with code 2.
    """


def reason(error: BaseException) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def in_a_line(error: BaseException) -> str:
    """The kind of an error and the first 300 characters of what it says, in one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:300]}"
