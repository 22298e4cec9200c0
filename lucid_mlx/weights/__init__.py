"""Where weights come from and how they are kept."""

from lucid_mlx.weights.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

__all__ = ["Checkpoint", "read_checkpoint", "write_checkpoint"]
