"""`python -m lucid_mlx` is `lucid-mlx`."""

from lucid_mlx.cli.main import main

main(prog_name="lucid-mlx")
