"""`lucid-mlx`: the verbs together, and errors as people want them."""

import warnings
from typing import Any

import click

import lucid_mlx
from lucid_mlx.backends import tune_for_cpu
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


class BadInput(click.ClickException):
    """Printed as one sentence."""

    exit_code = 2


class Verbs(click.Group):
    """A group that tells bad input in one sentence, with exit code 2 and no traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the verb."""
        tune_for_cpu()
        warnings.showwarning = _one_line
        try:
            return super().invoke(ctx)
        except BrokenPipeError:  # such as `| head`; click ends in silence
            raise
        except (lucid_mlx.InputError, OSError) as error:  # such as a name that is too long for the disk
            raise BadInput(str(error)) from error


def _one_line(message: Warning | str, *args: Any, **kwargs: Any) -> None:
    click.secho(f"warning: {message}", fg="yellow", err=True)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(lucid_mlx.__version__, prog_name="lucid-mlx")
def main() -> None:
    """Segment images with Mask2Former on Apple silicon."""


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
