"""`lucid-mlx`: the verbs together, and errors as people want them."""

import io
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import click

import lucid_mlx
from lucid_mlx.backends import limit_cache, tune_for_cpu
from lucid_mlx.cli.app import app
from lucid_mlx.cli.bench import bench
from lucid_mlx.cli.convert import convert
from lucid_mlx.cli.demo import demo
from lucid_mlx.cli.doctor import doctor
from lucid_mlx.cli.eval import eval_
from lucid_mlx.cli.segment import segment
from lucid_mlx.cli.train import train
from lucid_mlx.cli.video import video
from lucid_mlx.cli.weights import weights
from lucid_mlx.utils.text import echo, printable


class BadInput(click.ClickException):
    """Printed as one sentence."""

    exit_code = 2


class Verbs(click.Group):
    """A group that tells bad input in one sentence, with exit code 2 and no traceback."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Read the arguments up to the verb.

        Args:
            *args: as click passes them.
            **kwargs: as click passes them.

        Returns:
            The context of the command line.
        """
        with _printable_usage():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb."""
        tune_for_cpu()
        limit_cache()
        warnings.showwarning = _once_in_one_line()
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="backslashreplace")  # for a terminal that has no such character
        try:
            with _orderly_end(), _printable_usage():
                return super().invoke(ctx)
        except KeyboardInterrupt:
            echo("stopped", err=True)
            raise SystemExit(128 + signal.SIGINT) from None
        except BrokenPipeError:  # such as `| head`; click ends in silence
            raise
        except lucid_mlx.InputError as error:
            raise BadInput(str(error)) from error
        except OSError as error:  # such as a name that is too long for the disk
            raise BadInput(printable(str(error))) from error


@contextmanager
def _orderly_end() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the block as an exception does, so that temporary files go.

    The exit code is 128 plus the signal's number, as shells have it. A second SIGTERM ends the process at once. A
    signal that is ignored already, as under `nohup`, stays so.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that closes sends it twice
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        raise SystemExit(128 + number)

    numbers = [x for x in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(x) is signal.SIG_DFL]
    for number in numbers:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def _printable_usage() -> Iterator[None]:
    """Make printable what click says about arguments, which it cites as they are; show what is missing."""
    try:
        yield
    except click.exceptions.NoArgsIsHelpError:  # whose message is the help
        raise
    except click.UsageError as error:
        message = error.message
        if isinstance(error, click.MissingParameter) and error.cmd is not None:
            example = re.search(r"^ +lucid-mlx (.+\\\n)*.+", error.cmd.help or "", re.M)
            message = "For example: " + re.sub(r"[\\\s]+", " ", example[0].strip()) if example else message
        error.message = printable(message)  # type: ignore[misc]  # which click declares final
        raise


def _once_in_one_line() -> Callable[..., None]:
    """Return what shows a warning as one line, unless it was shown before."""
    shown = set()

    def show(message: Warning | str, *args: Any, **kwargs: Any) -> None:
        if str(message) not in shown:
            shown.add(str(message))
            echo(f"warning: {message}", fg="yellow", err=True)

    return show


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(lucid_mlx.__version__, prog_name="lucid-mlx")
def main() -> None:
    """Segment photos and videos with Mask2Former on Apple silicon.

    \b
    To begin:
      lucid-mlx demo
      lucid-mlx segment photo.jpg --weights facebook/mask2former-swin-tiny-coco-panoptic
      lucid-mlx COMMAND --help
    """


main.add_command(app)
main.add_command(bench)
main.add_command(convert)
main.add_command(demo)
main.add_command(doctor)
main.add_command(eval_)
main.add_command(segment)
main.add_command(train)
main.add_command(video)
main.add_command(weights)
