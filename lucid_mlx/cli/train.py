"""`lucid-mlx train`."""

from dataclasses import replace
from pathlib import Path

import click

from lucid_mlx.cli.options import output_option
from lucid_mlx.errors import InputError
from lucid_mlx.training import Trainer, read_config
from lucid_mlx.training.dry_run import dry_run as try_run
from lucid_mlx.training.folder import TRAINING_FOLDER
from lucid_mlx.training.resume import CONFIG_OF_RUN, config_of_run
from lucid_mlx.utils.text import echo
from lucid_mlx.utils.validation import MAX_COUNT


@click.command()
@click.argument("config", type=click.Path(path_type=Path), required=False)
@output_option("The folder for the model.")
@click.option("--resume", is_flag=True, help="Go on from the state in the folder; CONFIG may be left out.")
@click.option(
    "--steps",
    type=click.IntRange(1, MAX_COUNT),
    help="Stop after this step; the schedule stays that of the whole run.",
)
@click.option("--weights", help="Start from these instead of the configuration's; demo needs no network.")
@click.option(
    "--backbone-weights",
    help="Start from a pretrained backbone or image classifier, and random weights for the rest: a file, a folder, or "
    "a name on the Hugging Face hub.",
)
@click.option("--dry-run", is_flag=True, help="Only tell what would be trained, and how long it takes.")
def train(
    config: Path | None,
    output: Path | None,
    resume: bool,
    steps: int | None,
    weights: str | None,
    backbone_weights: str | None,
    dry_run: bool,
) -> None:
    """Train or fine-tune a network as the TOML file CONFIG says.

    preset = "coco-panoptic" in it, and others, fill in the original project's recipes; dtype = "bfloat16" is mixed
    precision.

    The folder holds a model that every --weights takes, and in training/ the state of the run, its metrics
    (metrics.jsonl), pictures and curves. Ctrl-C saves. With --resume CONFIG may be left out; if it is given, what has
    changed in it is told, and the network stays as it is. Several processes or machines: mlx.launch. --dry-run trains
    for a few steps and keeps nothing.

    \b
    Examples:
      lucid-mlx train my.toml --output my-model --weights facebook/mask2former-swin-tiny-coco-panoptic
      lucid-mlx train my.toml --output my-model --backbone-weights microsoft/swin-tiny-patch4-window7-224
      lucid-mlx train --output my-model --resume
    """
    context = click.get_current_context()
    if dry_run and resume:
        raise click.UsageError("--dry-run is for a run that has not begun: leave out --resume")
    if config is None and not resume:
        raise click.MissingParameter(ctx=context, param_hint="'CONFIG'", param_type="argument")
    if output is None and not dry_run:
        raise click.MissingParameter(ctx=context, param_hint="'-o' / '--output'", param_type="option")
    folder = (output or Path()).expanduser()
    settings = config_of_run(folder / TRAINING_FOLDER) if config is None else read_config(config)
    for data in (settings.train, settings.validation):
        if config is None and data is not None and not Path(data.images).exists():
            raise InputError(
                f"{data.images} does not exist, where {output} had its images; if they moved, name a TOML file with "
                f"the new paths: lucid-mlx train CONFIG --output {output} --resume"
            )
    if weights is not None and backbone_weights is not None:
        raise click.UsageError("--weights are of a whole network, with its backbone: leave out --backbone-weights")
    if weights is not None or backbone_weights is not None:
        network = replace(settings.network, weights=weights, backbone_weights=backbone_weights)
        settings = replace(settings, network=network)
    if dry_run:
        try_run(settings, _tell)
        return
    run = Trainer(settings, folder, resume, _tell)
    last = min(settings.steps, steps or settings.steps)
    if run.progress.step >= last:
        more = "--steps" if last < settings.steps else f"steps in {config or run.folder.training / CONFIG_OF_RUN}"
        run.log(f"all {last} steps are done already; to go on, raise {more} and run this again -> {output}")
        return
    done = run.fit(steps)
    run.log(f"{run.progress.step} of {settings.steps} steps{'' if done else ' so far'} -> {output}")
    if run.stopped_by is not None:
        raise SystemExit(128 + run.stopped_by)


def _tell(message: str) -> None:
    echo(message, err=True)
