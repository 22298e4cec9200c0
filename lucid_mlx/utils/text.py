"""Text from outside, such as names in a file, made safe to show: one line, of bounded length, that hides nothing.

`echo` is the one door to the terminal.
"""

import html
import re
import reprlib
import sys
import unicodedata
from collections.abc import Sequence
from typing import Any

# Control characters, half characters (surrogates), separators of lines and paragraphs.
_NOT_PRINTABLE = {"Cc", "Cs", "Zl", "Zp"}
# Characters that show text in another order than it is written.
_BIDIRECTIONAL = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+\-.!|~>:@$])")


def printable(text: str) -> str:
    r"""Return text as one line that a terminal shows as it is.

    Args:
        text: any text.

    Returns:
        The text, with `\x1b` and the like for characters that would move the cursor, change colors, begin a line or
        turn the direction of writing.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(x) if _is_unsafe(x) else x for x in text)


def markdown(text: str) -> str:
    """Return text as Markdown that shows it as it is: no links, no HTML, no other marks."""
    return _MARKDOWN.sub(r"\\\1", html.escape(printable(text), quote=False).replace("&amp;", "&"))


def shown(value: Any, length: int = 60) -> str:
    """Return a value for a message, in time and length that do not grow with the value.

    Args:
        value: any value of Python's own types, however deep or large.
        length: most characters.

    Returns:
        Its `repr`, cut.
    """
    try:
        text = printable(_Repr().repr(value))
    except (ValueError, RecursionError):  # Python refuses to write an int of thousands of digits
        text = f"a {type(value).__name__} too long to show"
    return text if len(text) <= length else f"{text[: length - 3]}..."


def examples(values: Sequence[Any], count: int = 3) -> str:
    """Return the first of many values for a message, such as "a.jpg, b.jpg, c.jpg and 7 more".

    Args:
        values: the values.
        count: how many to show.

    Returns:
        The text.
    """
    rest = f" and {len(values) - count} more" if len(values) > count else ""
    return ", ".join(shown(str(value), 200)[1:-1] for value in values[:count]) + rest


def echo(line: str, *, err: bool = False, fg: str | None = None) -> None:
    """Print a line, in which text from outside can neither begin another line nor control the terminal.

    Progress bars stay below it.

    Args:
        line: the text; a text of several lines is printed by several calls.
        err: to standard error.
        fg: the color, if the output is a terminal.
    """
    import click
    from tqdm.auto import tqdm

    with tqdm.external_write_mode():
        click.secho(printable(line), err=err, fg=fg)


class _Repr(reprlib.Repr):
    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxother = 3, 200, 200


def _is_unsafe(character: str) -> bool:
    return unicodedata.category(character) in _NOT_PRINTABLE or character in _BIDIRECTIONAL


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def hide_bar(progress: bool) -> bool | None:
    """Return tqdm's `disable` for a progress bar that is wanted or not: a notebook shows it, a log does not."""
    return not progress if _in_a_notebook() else None if progress else True


def _in_a_notebook() -> bool:
    """Return whether this process is the kernel of a notebook, and has not just imported what kernels are made of."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return hasattr(shell, "kernel")
