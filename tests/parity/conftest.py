"""Set-up of the comparisons: order of imports, quiet libraries, the tie-breaking fixture."""

import os

os.environ.setdefault("MLX_ENABLE_TF32", "0")  # read when mlx first multiplies
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import lucid_mlx  # noqa: F401, I001  # before torch, so that its BLAS is the one that MLX finds
from transformers.utils import logging

from ties import ties  # noqa: F401

logging.set_verbosity_error()
logging.disable_progress_bar()
