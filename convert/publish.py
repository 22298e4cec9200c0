"""Save models as folders, and publish folders on the Hugging Face hub, under the license of their source."""

import re
import tempfile
import warnings
from collections.abc import Collection, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import mlx.core as mx

from lucid_mlx.convert.card import FOLDER, base_model, model_card
from lucid_mlx.convert.origin import identify_checkpoint
from lucid_mlx.datasets import TASKS
from lucid_mlx.errors import InputError
from lucid_mlx.models.vision.mask2former import Mask2Former, Mask2FormerConfig
from lucid_mlx.preprocessing import ImageConfig
from lucid_mlx.utils.files import local_path
from lucid_mlx.utils.parameters import named_parameters
from lucid_mlx.utils.text import printable, shown
from lucid_mlx.utils.validation import check_choice, whole_numbers
from lucid_mlx.weights.catalog import is_non_commercial
from lucid_mlx.weights.checkpoint import (
    CARD_FILE,
    CONFIG_FILE,
    PREPROCESSOR_FILE,
    is_converted,
    read_checkpoint,
    write_checkpoint,
)
from lucid_mlx.weights.upload import check_repository, upload

MAX_GENERATIONS = 10  # of models that were trained from one another
_LICENSE = re.compile(r"[a-z0-9][a-z0-9.-]{0,63}", re.ASCII)


def known_license(metadata: Mapping[str, str]) -> str | None:
    """Return the license of weights: the strictest of what their metadata and the names of their sources prove.

    Args:
        metadata: of a checkpoint.

    Returns:
        The license as the hub writes it; None if it is not known.
    """
    licenses = []
    for _ in range(MAX_GENERATIONS):
        source = metadata.get("source", "")
        published = identify_checkpoint(source)
        licenses += [x for x in (metadata.get("license"), published.license if published else None) if x]
        if not (before := _folder_metadata(source)):
            break
        metadata = before
    return next(filter(is_non_commercial, licenses), next(iter(licenses), None))


def _folder_metadata(source: str) -> dict[str, str]:
    """Return the metadata of the folder on this disk that a model was trained from; empty for another source."""
    try:
        if source and "://" not in source and is_converted(path := Path(source)):
            return read_checkpoint(path).metadata
    except (InputError, OSError, ValueError, RuntimeError):  # a damaged folder, or no name that a disk takes
        pass
    return {}


def checked_license(metadata: Mapping[str, str], wanted: str | None) -> str | None:
    """Return the license to give weights.

    Args:
        metadata: of a checkpoint.
        wanted: what the user says, as the hub writes it, such as "mit"; None for what is known.

    Returns:
        The license; None if nobody knows it.

    Raises:
        InputError: if the weights are for non-commercial use and the license is another, or it is no word of the hub's.
    """
    known = known_license(metadata)
    if wanted is None:
        return known
    if not isinstance(wanted, str) or not _LICENSE.fullmatch(wanted):
        raise InputError(f"a license is written as on the hub, such as mit or apache-2.0, got {shown(wanted)}")
    if known is not None and is_non_commercial(known) and wanted != known:
        raise InputError(
            f"the weights of {shown(metadata.get('source', 'this model'), 120)} are {known}, for non-commercial use: "
            f"what is made of them cannot be published as {wanted}; leave the license out"
        )
    return wanted


def publish(folder: str | PathLike[str], repository: str, *, private: bool = False, message: str | None = None) -> str:
    """Upload a converted or trained folder to the Hugging Face hub, with a model card, in one commit.

    Args:
        folder: in MLX's layout.
        repository: `owner/name`; made if there is none.
        private: make a new repository private.
        message: of the commit.

    Returns:
        The address of the repository.

    Raises:
        InputError: if it is no such folder; if its card gives weights for non-commercial use another license; if the
            hub cannot be reached or refuses.
    """
    check_repository(repository)
    path = local_path(folder)
    checkpoint = read_checkpoint(path)
    config = Mask2FormerConfig.from_dict(checkpoint.config)
    names = [CONFIG_FILE, PREPROCESSOR_FILE, *(x.name for x in sorted(path.glob("model*.safetensors*")))]
    files: dict[str, Path | bytes] = {name: path / name for name in names if (path / name).is_file()}
    own = path / CARD_FILE
    known = {"source": path.name, "family": "mlx", "converter": "lucid-mlx", "sha256": "not known"}
    text = (
        own.read_text(encoding="utf-8")
        if own.is_file()
        else model_card(config, {**known, **checkpoint.metadata}, checkpoint.config.get("quantization"))
    )
    files[CARD_FILE] = published_card(text, checkpoint.metadata, repository).encode()
    left = sorted(x.name for x in path.iterdir() if x.name not in files and not x.name.startswith("."))
    if left:
        warnings.warn(f"not uploaded, since loading does not need it: {shown(left, 200)}", stacklevel=2)
    return upload(repository, files, message=message or "Mask2Former for MLX", private=private)


def published_card(text: str, metadata: Mapping[str, str], repository: str) -> str:
    """Return a model card as it is published: with what the hub wants to know, and snippets that name the repository.

    Args:
        text: the card of the folder.
        metadata: of the checkpoint.
        repository: `owner/name`.

    Returns:
        The card.

    Raises:
        InputError: if the card gives weights for non-commercial use another license, or its head cannot be read.
    """
    from huggingface_hub import ModelCard
    from yaml import YAMLError

    try:
        card = ModelCard(text)
    except (ValueError, YAMLError) as error:
        raise InputError(f"the head of {CARD_FILE} cannot be read: {printable(str(error))[:200]}") from None
    data: Any = card.data
    data.license = checked_license(metadata, data.license or None)
    if data.license is None:
        warnings.warn(
            "the license of the weights is not known, and the model card says none; give one with --license (in Python "
            "license=)",
            stacklevel=3,
        )
    data.library_name = data.library_name or "mlx"
    data.pipeline_tag = data.pipeline_tag or "image-segmentation"
    data.base_model = data.base_model or base_model(metadata)
    data.tags = list(dict.fromkeys([*(data.tags or []), "mlx", "mask2former"]))
    return str(card).replace(FOLDER, repository)


def save_model(
    model: Mask2Former,
    folder: str | PathLike[str],
    *,
    image_config: ImageConfig | None = None,
    license: str | None = None,
    task: str | None = None,
    thing_ids: Collection[int] | None = None,
    force: bool = False,
) -> Path:
    """Write a model to a folder that `lucid_mlx.load` reads, completely or not at all.

    Args:
        model: to write, with the names of its classes.
        folder: it must not exist, or be empty, without `force`.
        image_config: how images are prepared for it; None for the configuration of what the model was loaded from.
        license: as the hub writes it; None for that of what the model was loaded from.
        task: "semantic", "instance" or "panoptic", for which it was trained; None for that of what it was loaded from.
        thing_ids: the classes that have countable objects; None for those of what it was loaded from.
        force: replace a folder that was written like this.

    Returns:
        The folder.

    Raises:
        InputError: if the folder may not be replaced or cannot be written, or the license does not fit.
    """
    if not isinstance(image_config, ImageConfig | None):
        raise InputError(f"image_config must be an ImageConfig, got {shown(image_config)}")
    provenance = model.provenance
    metadata = {"source": "a model in memory", "family": "mlx", **provenance.metadata}
    if (chosen := checked_license(metadata, license)) is not None:
        metadata["license"] = chosen
    if task is not None:
        check_choice("task", task, TASKS)
        metadata["task"] = task
    if thing_ids is not None:
        things = whole_numbers("thing_ids", list(thing_ids), most=model.config.num_labels - 1)
        metadata["things"] = " ".join(map(str, sorted(things)))
    preprocessor = image_config.to_dict() if image_config else dict(provenance.preprocessor) or ImageConfig().to_dict()
    config = model.config.to_dict()
    if provenance.quantization and any(name.endswith(".scales") for name in named_parameters(model)):
        config["quantization"] = provenance.quantization
    arrays = named_parameters(model)
    mx.eval(arrays)
    described = {"converter": "lucid_mlx", "sha256": "not known", **metadata}
    card = model_card(model.config, described, config.get("quantization"))
    return write_checkpoint(folder, config, arrays, metadata, preprocessor, card, force=force)


def push_model(
    model: Mask2Former,
    repository: str,
    *,
    private: bool = False,
    image_config: ImageConfig | None = None,
    license: str | None = None,
    message: str | None = None,
) -> str:
    """Publish a model on the Hugging Face hub.

    Args:
        model: to publish.
        repository: `owner/name`; made if there is none.
        private: make a new repository private.
        image_config: as for `save_model`.
        license: as for `save_model`.
        message: of the commit.

    Returns:
        The address of the repository.

    Raises:
        InputError: as for `save_model` and `publish`.
    """
    check_repository(repository)
    with tempfile.TemporaryDirectory(prefix="lucid-mlx-") as temporary:
        folder = save_model(model, Path(temporary) / "model", image_config=image_config, license=license)
        return publish(folder, repository, private=private, message=message)
