"""`lucid-mlx train`."""

from dataclasses import replace
from pathlib import Path

import click

from lucid_mlx.cli.options import output_option
from lucid_mlx.training import Trainer, read_config
from lucid_mlx.utils.text import echo
from lucid_mlx.utils.validation import MAX_COUNT


@click.command()
@click.argument("config", type=click.Path(path_type=Path))
@output_option("The folder for the model.", required=True)
@click.option("--resume", is_flag=True, help="Go on from the state in the folder.")
@click.option(
    "--steps",
    type=click.IntRange(1, MAX_COUNT),
    help="Stop after this step; the schedule stays that of the whole run.",
)
@click.option("--weights", help="Start from these instead of the configuration's.")
def train(config: Path, output: Path, resume: bool, steps: int | None, weights: str | None) -> None:
    """Train or fine-tune a network as the TOML file CONFIG says.

    The folder holds a model that every --weights takes, and in training/ the state of the run, its metrics
    (metrics.jsonl), pictures and curves. Ctrl-C saves. Several processes or machines: mlx.launch.

    \b
    Examples:
      lucid-mlx train examples/train_demo.toml --output demo-run
      lucid-mlx train examples/train_demo.toml --output demo-run --resume
    """
    settings = read_config(config)
    if weights is not None:
        settings = replace(settings, network=replace(settings.network, weights=weights))
    run = Trainer(settings, output.expanduser(), resume, lambda text: echo(text, err=True))
    done = run.fit(steps)
    run.log(f"{run.progress.step} of {settings.steps} steps{'' if done else ' so far'} -> {output}")
