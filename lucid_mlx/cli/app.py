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
@click.option("--compare", metavar="WEIGHTS", help="Other weights; the page then shows what both find side by side.")
@click.option("--port", type=click.IntRange(1, 65535), help="Port to listen on. Default: the first free one from 7860.")
def app(weights: str | None, task: str | None, compare: str | None, port: int | None) -> None:
    """Open a page for the browser on which photos are dropped and their segments seen.

    It can be reached from this machine alone. Needs gradio: pip install 'lucid-mlx[app]'

    \b
    Examples:
      lucid-mlx app --weights demo
      lucid-mlx app --weights facebook/mask2former-swin-tiny-coco-panoptic --port 8000
      lucid-mlx app --weights my-model --compare facebook/mask2former-swin-tiny-coco-panoptic
    """
    from lucid_mlx.cli.web_app import serve

    weights = required_weights(weights)
    require("gradio", "app")
    segmenter = Segmenter(weights, task)
    other = None if compare is None else Segmenter(compare, segmenter.task)
    names = [weights, compare or ""]

    def ready(address: str) -> None:
        echo(f"Open {address} in a browser; Ctrl-C ends it")

    serve(segmenter, ready, port=port, other=other, names=names)
