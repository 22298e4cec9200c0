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
    # The mask features as they came and as a product reads them, and the masks.
    masks = (2 * config.mask_feature_size + config.num_queries) * finest
    # The memories, their sums with the level embeddings and with the positions, mask features of their size; the keys
    # and values of all layers, since they do not wait for the queries.
    layers_per_level = -(-(config.decoder_layers - 1) // len(cells))
    memories = config.feature_size + config.mask_feature_size + 2 * config.hidden_dim * (1 + layers_per_level)
    # The scores of the largest attention before and after the mask and the softmax, its split keys and values.
    attention = 4 * config.num_attention_heads * config.num_queries + 2 * config.hidden_dim
    return masks + memories * sum(cells) + attention * max(cells)
