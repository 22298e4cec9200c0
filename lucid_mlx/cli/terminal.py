"""What verbs print: the one door to the terminal."""

import click
from tqdm.auto import tqdm

from lucid_mlx.utils.text import printable


def echo(line: str, *, err: bool = False, fg: str | None = None) -> None:
    """Print a line, in which text from outside can neither begin another line nor control the terminal.

    Progress bars stay below it.

    Args:
        line: the text; a text of several lines is printed by several calls.
        err: to standard error.
        fg: the color, if the output is a terminal.
    """
    with tqdm.external_write_mode():
        click.secho(printable(line), err=err, fg=fg)
