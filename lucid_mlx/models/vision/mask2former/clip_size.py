"""How much of a clip is there at once."""

from lucid_mlx.models.vision.mask2former.config import Mask2FormerConfig


def values_per_frame(config: Mask2FormerConfig, height: int, width: int) -> int:
    """Count the numbers that the decoder keeps of each frame of a clip, at the most at one time.

    Args:
        config: of the network.
        height: of a frame, in pixels.
        width: of a frame, in pixels.

    Returns:
        The count.
    """
    cells = [-(-height // stride) * -(-width // stride) for stride in (8, 16, 32)]
    finest = -(-height // config.common_stride) * -(-width // config.common_stride)
    features = 2 * config.mask_feature_size * finest + config.num_queries * finest
    memories = (2 * config.feature_size + config.mask_feature_size + config.hidden_dim) * sum(cells)
    attention = (2 * config.num_attention_heads * config.num_queries + 3 * config.hidden_dim) * max(cells)
    return features + memories + attention
