"""Weight conversion: from a checkpoint of another system to a folder of MLX safetensors, without torch."""

from lucid_mlx.convert.pipeline import Conversion, convert, convert_in_memory

__all__ = ["Conversion", "convert", "convert_in_memory"]
