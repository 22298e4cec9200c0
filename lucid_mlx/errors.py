"""The one exception that means: what the caller gave cannot be used, and here is why."""


class InputError(ValueError):
    """Bad input, told in one sentence: what was wrong, what was expected, what to do.

    The command line prints it without a traceback and exits with code 2.
    """
