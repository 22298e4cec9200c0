"""The model card of converted weights."""

from collections.abc import Mapping
from typing import Any

from lucid_mlx.convert.origin import identify_checkpoint
from lucid_mlx.models.vision.mask2former import Mask2FormerConfig
from lucid_mlx.utils.text import markdown, printable

# The names of licenses for people to read.
LICENSES = {
    "cc-by-nc-4.0": "CC BY-NC 4.0: for non-commercial use, with attribution",
    "cc-by-nc-sa-4.0": "CC BY-NC-SA 4.0: for non-commercial use, with attribution, shared alike",
    "apache-2.0": "Apache 2.0",
    "mit": "MIT",
    "other": "other: see the model card of the source",
}
UNKNOWN_LICENSE = "unknown: ask who published the source"


def license_text(metadata: Mapping[str, str]) -> str:
    """Return the name of a conversion's license for people to read."""
    license = metadata.get("license")
    return LICENSES.get(license, license) if license else UNKNOWN_LICENSE


FOLDER = "path/to/this/folder"  # in cards, until a folder is published


def base_model(metadata: Mapping[str, str]) -> str | None:
    """Return the repository on the Hugging Face hub that weights were converted from; None for another source."""
    source = metadata.get("source", "")
    if source.startswith("hf://"):
        return "/".join(source.removeprefix("hf://").split("@")[0].split("/")[:2])
    return source if metadata.get("revision") and "://" not in source else None


def model_card(config: Mask2FormerConfig, metadata: Mapping[str, str], quantization: Mapping[str, Any] | None) -> str:
    """Return the text of a model card: metadata for the Hugging Face hub, and a description.

    Names of classes and of the source are shown as they are: they make no links, no HTML and no other marks.

    Args:
        config: of the network.
        metadata: source, revision, family, license, dataset, trained_on, sha256 and converter.
        quantization: the entry "quantization" of `config.json`; None without quantized layers.

    Returns:
        The text of `README.md`.
    """
    from huggingface_hub import ModelCardData

    metadata = {name: printable(value) for name, value in metadata.items()}
    source, revision, dataset = metadata["source"], metadata.get("revision"), metadata.get("dataset")
    clips = metadata.get("trained_on") == "clips"
    head = ModelCardData(
        library_name="mlx",
        pipeline_tag="image-segmentation",
        license=metadata.get("license"),
        base_model=base_model(metadata),
        tags=["mlx", "mask2former", *([dataset] if dataset else [])],
    )
    at = f" at revision {markdown(revision)}" if revision else ""
    weights = "floating point"
    if quantization is not None:
        weights = f"{len(quantization['layers'])} linear layers in {quantization['bits']} bits, the rest floating point"
    published = identify_checkpoint(source)
    metric = f" Published accuracy: {published.metric}." if published and published.metric else ""
    labels = ", ".join(f"{number} {markdown(name)}" for number, name in config.id2label.items())
    return f"""---
{head.to_yaml()}
---

# Mask2Former for MLX

Converted from {markdown(source)}{at} ({metadata["family"]}) by `{metadata["converter"]}`.

- License of the source, and of these weights: {markdown(license_text(metadata))}.
- Trained on: {markdown(dataset or "not known")}{", clips of several frames" if clips else ""}.{metric}
- Weights: {weights}. sha256 of the source: `{metadata["sha256"]}`.
- Queries: {config.num_queries}. Classes: {config.num_labels}.

```python
import lucid_mlx

result = lucid_mlx.Segmenter("{FOLDER}")("photo.jpg")
print(result.summary())
result.save("segmented.png")
```

```sh
pip install lucid-mlx
lucid-mlx segment photo.jpg --weights {FOLDER}
```

## Classes

{labels}
"""
