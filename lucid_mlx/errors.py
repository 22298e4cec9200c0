"""The exception for input that cannot be used."""


class InputError(ValueError):
    """The input cannot be used; the message says what is wrong, what was expected and what to do.

    The command line prints the message without a traceback and exits with code 2.
    """
