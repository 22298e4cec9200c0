"""The configuration that a run keeps in its folder, and what of it may change when the run goes on."""

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from lucid_mlx.errors import InputError
from lucid_mlx.training.config import AUGMENTATIONS, TrainingConfig, read_config
from lucid_mlx.utils.files import local_path, write_file
from lucid_mlx.utils.text import shown

CONFIG_OF_RUN = "config.json"  # in the folder of the training state
MISSING = "not set"
PATHS = ("images", "annotations", "panoptic_folder", "names", "merge", "split")  # of `DatasetConfig`


def config_of_run(training: Path) -> TrainingConfig:
    """Read the configuration that a run keeps.

    Args:
        training: the folder of the training state.

    Returns:
        The configuration.

    Raises:
        InputError: if there is none.
    """
    path = training / CONFIG_OF_RUN
    if not path.exists():
        raise InputError(
            f"{training.parent} has no run to go on with: {path} does not exist; name the TOML file and leave out "
            "--resume to begin one"
        )
    return read_config(path)


def keep_config(training: Path, config: TrainingConfig) -> None:
    """Write the configuration of a run, with absolute paths, so that it goes on from any folder.

    Args:
        training: the folder of the training state.
        config: of the run.
    """
    write_file(training / CONFIG_OF_RUN, (json.dumps(_table(config), indent=2) + "\n").encode())


def resumed_config(training: Path, config: TrainingConfig) -> tuple[TrainingConfig, list[str]]:
    """Compare the configuration that a run keeps with the one with which it shall go on.

    The network stays as it is: its weights come from the folder. Everything else may change.

    Args:
        training: the folder of the training state.
        config: with which to go on.

    Returns:
        The configuration, with the weights with which the run began; and what has changed, a phrase for each key.

    Raises:
        InputError: if the network is another one.
    """
    if not (training / CONFIG_OF_RUN).exists():
        return config, []
    kept = config_of_run(training)
    fixed: dict[str, Any] = {name: getattr(kept.network, name) for name in ("weights", "backbone_weights", "fields")}
    for name, value in fixed.items():
        now = getattr(config.network, name)
        if now and _plain(now) != _plain(value):
            raise InputError(
                f"the run in {training.parent} goes on with its own network, so [network] {name} cannot become "
                f"{shown(now)}, it was {shown(value) if value else MISSING}: leave it out, or begin another run with "
                "another --output"
            )
    config = replace(config, network=replace(config.network, **fixed))
    before, after = dict(_flat(_table(kept))), dict(_flat(_table(config)))
    return config, [
        f"{key} {_value(before, key)} -> {_value(after, key)}"
        for key in {**before, **after}
        if before.get(key) != after.get(key)
    ]


def _value(table: Mapping[str, Any], key: str) -> str:
    return shown(table[key], 200) if key in table else MISSING


def _table(config: TrainingConfig) -> dict[str, Any]:
    """Return a configuration as its file has it: no keys without a value, and absolute paths."""
    table: dict[str, Any] = _plain(asdict(config))
    kinds = (name for name, kind in AUGMENTATIONS.items() if isinstance(config.augmentation, kind))
    table["augmentation"] = {"kind": next(kinds, None), **table["augmentation"]}
    for name in ("train", "validation"):
        for key in PATHS:
            value = (table[name] or {}).get(key)
            if value is not None and os.path.lexists(path := local_path(value)):
                table[name][key] = os.path.abspath(path)  # noqa: PTH100  # links stay
    return _without_none(table)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it: lists, no tuples."""
    return json.loads(json.dumps(value))


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, dict) else value
        for key, value in table.items()
        if value is not None
    }


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
