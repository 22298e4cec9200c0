"""Products in full float32 on GPUs that would round them to TF32."""

import os

os.environ["MLX_ENABLE_TF32"] = "0"  # read when mlx first multiplies
