"""How much a forward computes: the products and convolutions, which are nearly all of it."""

from math import ceil

from lucid_mlx.models import Mask2Former
from lucid_mlx.models.vision.backbones.resnet import ConvNorm, ResNet
from lucid_mlx.models.vision.backbones.swin import Swin
from lucid_mlx.models.vision.mask2former.config import NUM_LEVELS, Mask2FormerConfig
from lucid_mlx.models.vision.mask2former.pixel_decoder import POINTS

Size = tuple[int, int]


def forward_flops(model: Mask2Former, height: int, width: int) -> dict[str, int]:
    """Count the floating-point operations of one image, two for each multiplication and addition.

    Args:
        model: with a Swin or ResNet backbone; that of another counts as nothing.
        height: of the image that the network sees, in pixels.
        width: of the same.

    Returns:
        Operations of "backbone", "pixel decoder" and "transformer decoder".
    """
    maps = [(ceil(height / stride), ceil(width / stride)) for stride in model.config.feature_strides]
    backbone = model.backbone
    if isinstance(backbone, Swin):
        first = _swin(backbone, maps)
    else:
        first = _resnet(backbone, maps) if isinstance(backbone, ResNet) else 0
    return {
        "backbone": 2 * first,
        "pixel decoder": 2 * _pixel_decoder(model.config, model.channels, maps),
        "transformer decoder": 2 * _transformer_decoder(model.config, maps),
    }


def _cells(size: Size) -> int:
    return size[0] * size[1]


def _swin(swin: Swin, maps: list[Size]) -> int:
    config, total = swin.config, 0
    total += _cells(maps[0]) * config.patch_size**2 * config.num_channels * config.embed_dim
    for stage, (size, dim, depth) in enumerate(zip(maps, config.channels, config.depths, strict=True)):
        window = config.window_size
        padded = ceil(size[0] / window) * ceil(size[1] / window) * window**2
        attention = padded * (4 * dim * dim + 2 * window**2 * dim)
        total += depth * (attention + _cells(size) * 2 * dim * int(config.mlp_ratio * dim))
        if stage < 3:
            total += _cells(maps[stage + 1]) * 4 * dim * 2 * dim
    return total


def _resnet(resnet: ResNet, maps: list[Size]) -> int:
    def convolution(layer: ConvNorm, size: Size) -> int:
        return _cells(size) * int(layer.conv.weight.size)

    half = 2 * maps[0][0], 2 * maps[0][1]
    total = sum(convolution(layer, half) for layer in resnet.stem)
    size = maps[0]
    for stage, blocks in zip(maps, resnet.stages, strict=True):
        for block in blocks:
            for layer in block.convs:
                size = stage if max(layer.conv.stride) > 1 else size
                total += convolution(layer, size)
            if block.shortcut is not None:
                total += convolution(block.shortcut, size)
    return total


def _pixel_decoder(config: Mask2FormerConfig, channels: tuple[int, ...], maps: list[Size]) -> int:
    dims, heads = config.feature_size, config.num_attention_heads
    total = sum(_cells(size) * width * dims for size, width in zip(maps[1:], channels[1:], strict=True))
    cells = sum(map(_cells, maps[1:]))
    samples = heads * NUM_LEVELS * POINTS
    attention = 2 * dims * dims + dims * samples * 3 + samples * 4 * dims // heads
    total += config.encoder_layers * cells * (attention + 2 * dims * config.encoder_feedforward_dim)
    finest = maps[1]
    if config.common_stride == 4:
        finest = maps[0]
        total += _cells(finest) * (channels[0] * dims + 9 * dims * dims)
    return total + _cells(finest) * dims * config.mask_feature_size


def _transformer_decoder(config: Mask2FormerConfig, maps: list[Size]) -> int:
    dims, queries, layers = config.hidden_dim, config.num_queries, config.decoder_layers - 1
    masked = maps[0] if config.common_stride == 4 else maps[1]
    total = queries * _cells(masked) * config.mask_feature_size
    levels = [maps[3 - index % NUM_LEVELS] for index in range(layers)]
    for size in levels:
        memory = _cells(size) * dims * (2 * dims + 2 * queries)
        total += memory + queries * _cells(size) * config.mask_feature_size
        total += queries * dims * (6 * dims + 2 * queries + 2 * config.dim_feedforward)
        total += queries * dims * (2 * dims + config.mask_feature_size)
    return total + queries * dims * (2 * dims + config.mask_feature_size + config.num_labels + 1)
