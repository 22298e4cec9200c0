"""lucid's weights: an enumeration for each network, a member for each file.

`DEFAULT` is the member that lucid chose. The files are in the repository `ChanLumerico/lucid` on the Hugging Face hub.
"""

from lucid_mlx.weights.registry import WeightsEnum, registry_entry


class ResNet_18_Weights(WeightsEnum):
    """A ResNet-18 backbone."""

    DEFAULT = registry_entry("resnet_18", "DEFAULT")
    IMAGENET1K = registry_entry("resnet_18", "IMAGENET1K")


class ResNet_34_Weights(WeightsEnum):
    """A ResNet-34 backbone."""

    DEFAULT = registry_entry("resnet_34", "DEFAULT")
    IMAGENET1K = registry_entry("resnet_34", "IMAGENET1K")


class ResNet_50_Weights(WeightsEnum):
    """A ResNet-50 backbone."""

    DEFAULT = registry_entry("resnet_50", "DEFAULT")
    IMAGENET1K = registry_entry("resnet_50", "IMAGENET1K")


class ResNet_101_Weights(WeightsEnum):
    """A ResNet-101 backbone."""

    DEFAULT = registry_entry("resnet_101", "DEFAULT")
    IMAGENET1K = registry_entry("resnet_101", "IMAGENET1K")


class ResNet_152_Weights(WeightsEnum):
    """A ResNet-152 backbone."""

    DEFAULT = registry_entry("resnet_152", "DEFAULT")
    IMAGENET1K = registry_entry("resnet_152", "IMAGENET1K")


class Swin_Tiny_Weights(WeightsEnum):
    """A Swin-T backbone."""

    DEFAULT = registry_entry("swin_tiny", "DEFAULT")
    IMAGENET1K = registry_entry("swin_tiny", "IMAGENET1K")


class Swin_Base_Weights(WeightsEnum):
    """A Swin-B backbone."""

    DEFAULT = registry_entry("swin_base", "DEFAULT")
    IMAGENET1K = registry_entry("swin_base", "IMAGENET1K")


class Mask2Former_Swin_Tiny_Weights(WeightsEnum):
    """Mask2Former with a Swin-T backbone."""

    DEFAULT = registry_entry("mask2former_swin_tiny", "DEFAULT")
    ADE20K_SEMANTIC = registry_entry("mask2former_swin_tiny", "ADE20K_SEMANTIC")
    CITYSCAPES_INSTANCE = registry_entry("mask2former_swin_tiny", "CITYSCAPES_INSTANCE")
    CITYSCAPES_PANOPTIC = registry_entry("mask2former_swin_tiny", "CITYSCAPES_PANOPTIC")
    CITYSCAPES_SEMANTIC = registry_entry("mask2former_swin_tiny", "CITYSCAPES_SEMANTIC")
    COCO_INSTANCE = registry_entry("mask2former_swin_tiny", "COCO_INSTANCE")
    COCO_PANOPTIC = registry_entry("mask2former_swin_tiny", "COCO_PANOPTIC")


class Mask2Former_Swin_Small_Weights(WeightsEnum):
    """Mask2Former with a Swin-S backbone."""

    DEFAULT = registry_entry("mask2former_swin_small", "DEFAULT")
    ADE20K_SEMANTIC = registry_entry("mask2former_swin_small", "ADE20K_SEMANTIC")
    CITYSCAPES_INSTANCE = registry_entry("mask2former_swin_small", "CITYSCAPES_INSTANCE")
    CITYSCAPES_PANOPTIC = registry_entry("mask2former_swin_small", "CITYSCAPES_PANOPTIC")
    CITYSCAPES_SEMANTIC = registry_entry("mask2former_swin_small", "CITYSCAPES_SEMANTIC")
    COCO_INSTANCE = registry_entry("mask2former_swin_small", "COCO_INSTANCE")
    COCO_PANOPTIC = registry_entry("mask2former_swin_small", "COCO_PANOPTIC")


class Mask2Former_Swin_Base_Weights(WeightsEnum):
    """Mask2Former with a Swin-B backbone."""

    DEFAULT = registry_entry("mask2former_swin_base", "DEFAULT")
    ADE20K_SEMANTIC = registry_entry("mask2former_swin_base", "ADE20K_SEMANTIC")
    CITYSCAPES_INSTANCE = registry_entry("mask2former_swin_base", "CITYSCAPES_INSTANCE")
    CITYSCAPES_PANOPTIC = registry_entry("mask2former_swin_base", "CITYSCAPES_PANOPTIC")
    CITYSCAPES_SEMANTIC = registry_entry("mask2former_swin_base", "CITYSCAPES_SEMANTIC")
    COCO_INSTANCE = registry_entry("mask2former_swin_base", "COCO_INSTANCE")
    COCO_PANOPTIC = registry_entry("mask2former_swin_base", "COCO_PANOPTIC")


class Mask2Former_Swin_Large_Weights(WeightsEnum):
    """Mask2Former with a Swin-L backbone."""

    DEFAULT = registry_entry("mask2former_swin_large", "DEFAULT")
    ADE20K_PANOPTIC = registry_entry("mask2former_swin_large", "ADE20K_PANOPTIC")
    ADE20K_SEMANTIC = registry_entry("mask2former_swin_large", "ADE20K_SEMANTIC")
    CITYSCAPES_INSTANCE = registry_entry("mask2former_swin_large", "CITYSCAPES_INSTANCE")
    CITYSCAPES_PANOPTIC = registry_entry("mask2former_swin_large", "CITYSCAPES_PANOPTIC")
    CITYSCAPES_SEMANTIC = registry_entry("mask2former_swin_large", "CITYSCAPES_SEMANTIC")
    COCO_INSTANCE = registry_entry("mask2former_swin_large", "COCO_INSTANCE")
    COCO_PANOPTIC = registry_entry("mask2former_swin_large", "COCO_PANOPTIC")
