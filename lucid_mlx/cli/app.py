"""`lucid-mlx app`."""

import click

from lucid_mlx.cli.inputs import required_weights
from lucid_mlx.cli.options import task_option, weights_option
from lucid_mlx.segmenter import Segmenter
from lucid_mlx.utils.optional_dependency import require
from lucid_mlx.utils.text import echo


@click.command()
@weights_option()
@task_option
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on. Default: the first free one from 7860.")
def app(weights: str | None, task: str | None, port: int | None) -> None:
    """Open a page for the browser on which photos are dropped and their segments seen.

    It can be reached from this machine alone. Needs gradio: pip install 'lucid-mlx[app]'

    \b
    Examples:
      lucid-mlx app --weights demo
      lucid-mlx app --weights facebook/mask2former-swin-tiny-coco-panoptic --port 8000
    """
    from lucid_mlx.cli.web_app import serve

    weights = required_weights(weights)
    require("gradio", "app")
    segmenter = Segmenter(weights, task)
    serve(segmenter, lambda address: echo(f"Open {address} in a browser; Ctrl-C ends it"), port=port)
