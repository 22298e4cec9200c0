"""At which size a checkpoint's images are seen, if nobody says otherwise.

It stands beside `lucid_mlx.convert`, which knows who published a checkpoint, and not in `images`, which knows nothing
of checkpoints.
"""

from collections.abc import Mapping
from typing import Any

from lucid_mlx.convert.origin import recognise
from lucid_mlx.images.recipes import Recipe, published_recipe
from lucid_mlx.weights.checkpoint import Checkpoint

# The type, the width of the first stage and the depth of the third tell the published backbones apart.
_BACKBONES: dict[tuple[Any, ...], str] = {
    ("resnet", 256, 6): "resnet_50",
    ("resnet", 256, 23): "resnet_101",
    ("swin", 96, 6): "swin_tiny",
    ("swin", 96, 18): "swin_small",
    ("swin", 128, 18): "swin_base",
    ("swin", 192, 18): "swin_large",
}


def default_recipe(checkpoint: Checkpoint) -> tuple[Recipe, str]:
    """Choose the recipe for a checkpoint's images.

    The models on the Hugging Face hub come with a recipe of 384x384, at which nobody measured them. So where the
    source proves that a checkpoint is a published one, this is the recipe of its published accuracy; but one that is
    written as the original project's, as a conversion with its YAML is, counts more.

    Returns:
        The recipe, and which it is and why in a few words.

    Raises:
        InputError: if the checkpoint's own recipe cannot be read.
    """
    own = Recipe.from_dict(checkpoint.preprocessor) if checkpoint.preprocessor else None
    if own is not None and own.divide == "pad":
        return own, "the checkpoint's own recipe"
    dataset = checkpoint.metadata.get("dataset")
    origin = recognise(checkpoint.metadata.get("source", ""))
    if dataset is not None and origin is not None and origin.dataset == dataset:
        published = published_recipe(dataset, _backbone(checkpoint.config.get("backbone_config") or {}))
        if published is not None:
            limits = f"shortest side {published.shortest_edge}, longest {published.longest_edge}"
            return published, f"the published test size of {dataset}: {limits}"
    if own is not None:
        return own, "the checkpoint's own recipe"
    return Recipe(), "384x384, as of the models on the Hugging Face hub: the checkpoint has no recipe of its own"


def _backbone(config: Mapping[str, Any]) -> str | None:
    widths = config.get("hidden_sizes") if config.get("model_type") == "resnet" else [config.get("embed_dim")]
    depths = config.get("depths")
    if not widths or not depths or len(depths) != 4:
        return None
    return _BACKBONES.get((config["model_type"], widths[0], depths[2]))
