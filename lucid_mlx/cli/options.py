"""Options that several verbs share: one spelling and one help text for one thing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from lucid_mlx.datasets import TASKS
from lucid_mlx.utils.validation import MAX_BATCH_SIZE

Command = TypeVar("Command", bound=Callable[..., Any])

DTYPES = ("float32", "float16", "bfloat16")


def weights_option(required: bool = False) -> Callable[[Command], Command]:
    """Return `--weights`."""
    return click.option(
        "--weights",
        required=required,
        help="A name that `lucid-mlx weights list` shows, a folder, a checkpoint file or an address; demo needs no "
        "network.",
    )


def task_option(command: Command) -> Command:
    """Add `--task`."""
    return click.option(
        "--task", type=click.Choice(TASKS), help="What to find. Default: what the weights were trained for."
    )(command)


def size_option(command: Command) -> Command:
    """Add `--size`."""
    return click.option(
        "--size",
        help="Size at which the network sees an image: 512, 640x480 (width x height), or 800/1333 (shorter side, and "
        "the limit of the longer one). Default: that of the published accuracy, or of the checkpoint.",
    )(command)


def dtype_option(command: Command) -> Command:
    """Add `--dtype`."""
    return click.option(
        "--dtype",
        type=click.Choice(DTYPES),
        help="Type to compute in. Default: float16 on a GPU, float32 on a CPU.",
    )(command)


def batch_size_option(command: Command) -> Command:
    """Add `--batch-size`."""
    return click.option(
        "--batch-size",
        type=click.IntRange(1, MAX_BATCH_SIZE),
        default=1,
        show_default=True,
        help="Images that run together.",
    )(command)


def threshold_option(command: Command) -> Command:
    """Add `--threshold`."""
    return click.option(
        "--threshold",
        type=click.FloatRange(0, 1),
        help="Score from which a segment counts. Default: 0.5 for instances, 0.8 for panoptic segments.",
    )(command)


def labels_option(command: Command) -> Command:
    """Add `--labels`."""
    return click.option(
        "--labels",
        help="Keep these classes only, separated by commas.",
    )(command)


def class_names_option(help: str) -> Callable[[Command], Command]:
    """Return `--class-names`, with a help text of the verb's own."""
    return click.option("--class-names", help=help)


def opacity_option(command: Command) -> Command:
    """Add `--opacity`."""
    return click.option(
        "--opacity", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Opacity of the overlay."
    )(command)


def output_option(help: str, **attributes: Any) -> Callable[[Command], Command]:
    """Return `-o/--output`.

    Args:
        help: what the verb writes there.
        **attributes: of `click.option`.

    Returns:
        A decorator.
    """
    attributes.setdefault("type", click.Path(path_type=Path))
    return click.option("-o", "--output", help=help, **attributes)


def force_option(command: Command) -> Command:
    """Add `--force`."""
    return click.option("--force", is_flag=True, help="Overwrite what is there.")(command)


def destination(argument: Path | None, option: Path | None) -> Path | None:
    """Return where to write, which may be said by an argument or by `--output`.

    Args:
        argument: the argument, if there is one.
        option: the option, if there is one.

    Returns:
        The one that is given; None if neither is.

    Raises:
        click.UsageError: if both are given.
    """
    if argument is not None and option is not None:
        raise click.UsageError(f"both {argument} and --output {option} say where to write; give one")
    return option if argument is None else argument
