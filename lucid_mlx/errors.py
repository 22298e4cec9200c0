"""The exception for input that cannot be used."""

from lucid_mlx.utils.text import printable


class InputError(ValueError):
    """The input cannot be used; the message says what is wrong, what was expected and what to do.

    The command line prints the message without a traceback and exits with code 2. Each argument is one line of it, in
    which text from outside, such as the name of a file, can neither begin another line nor control a terminal.
    """

    def __str__(self) -> str:
        return "\n  ".join(printable(str(line)) for line in self.args)
