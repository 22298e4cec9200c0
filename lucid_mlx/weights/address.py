"""Parse what a user may write for weights: a path, a name on the Hugging Face hub, an address, a registry tag."""

import difflib
import os
import re
import warnings
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lucid_mlx.errors import InputError
from lucid_mlx.utils.files import local_path
from lucid_mlx.utils.text import shown
from lucid_mlx.weights.checkpoint import CONFIG_FILE, WEIGHT_FILES
from lucid_mlx.weights.registry import WeightEntry, WeightsEnum, WeightsLike, resolve

MAX_ADDRESS = 2000  # characters
DEMO_FOLDER = Path(__file__).parents[1] / "demo"  # the small checkpoint that comes with the package
DEMO_PHOTOS = sorted(DEMO_FOLDER.glob("*.jpg"))  # what it may be tried on

_HUB_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_HUB_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^@\s]+))?", re.ASCII)


@dataclass(frozen=True)
class HubAddress:
    """A repository on the Hugging Face hub, or one file of it.

    Attributes:
        repository: its name, `owner/name`.
        revision: a branch, tag or commit.
        file: path of a file within the repository; None for the repository.
        sha256: digest that the file must have; None if it is not known.
    """

    repository: str
    revision: str = "main"
    file: str | None = None
    sha256: str | None = None

    def __str__(self) -> str:
        at = "" if self.revision == "main" else f"@{self.revision}"
        return f"{self.repository}{at}" if self.file is None else f"hf://{self.repository}{at}/{self.file}"


@dataclass(frozen=True)
class WebAddress:
    """A file on the web.

    Attributes:
        url: of the file.
    """

    url: str

    def __str__(self) -> str:
        return self.url


def parse_address(weights: WeightsLike) -> Path | HubAddress | WebAddress:
    """Find out where weights are, without access to the network.

    A string that starts with `hf://`, `https://` or `http://` is an address. Otherwise it is a path if that exists on
    disk; the checkpoint that comes with the package if it is "demo"; a registry tag or another listed name if it has a
    colon ("mask2former_swin_small:ADE20K_SEMANTIC", "openmmlab_resnet_50:COCO_PANOPTIC"); a name on the Hugging Face
    hub if it has a single slash. If something on disk has the name of a listed checkpoint, such as "demo", a folder
    with a model is taken, and the listed checkpoint otherwise; a warning says so. "./demo" is always the path.

    Args:
        weights: what the user wrote, or a member or entry of the registry.

    Returns:
        The path or the address.

    Raises:
        InputError: if it is none of these.
    """
    if isinstance(weights, WeightEntry | WeightsEnum):
        return _entry_address(resolve(weights))
    if not isinstance(weights, str):
        if not isinstance(weights, PathLike):
            raise InputError(
                f"weights must be a path, a name, an address or a registry member, got {shown(weights, 80)}"
            )
        return local_path(weights)
    is_address = weights.startswith(("hf://", "https://", "http://"))
    exists = weights and not is_address and os.path.exists(path := local_path(weights))  # noqa: PTH110  # Path's raises
    if exists and not _is_shadowed(weights, path):
        return path
    if len(weights) > MAX_ADDRESS or not weights.isprintable():
        raise InputError(
            f"weights must be a path, a name or an address of at most {MAX_ADDRESS} printable characters, got "
            f"{shown(weights, 200)}"
        )
    if weights.startswith("hf://"):
        return _parse_hub_uri(weights)
    if is_address:
        try:
            parts = urlsplit(weights)
        except ValueError as error:
            raise InputError(f"{shown(weights, 200)} is no address: {error}") from None
        if max(map(len, (parts.hostname or "").split("."))) not in range(1, 64):
            raise InputError(f"{shown(weights, 200)} is no address: it names no computer")
        return _parse_hub_page(parts.path, weights) if parts.hostname in _HUB_HOSTS else WebAddress(weights)
    if weights == DEMO_FOLDER.name:
        return DEMO_FOLDER
    if re.fullmatch(r"\w+:\w+", weights):
        return _listed_address(weights) or _entry_address(resolve(weights))
    if (match := _HUB_NAME.fullmatch(weights)) and not weights.startswith("."):
        return HubAddress(match["repository"], match["revision"] or "main")
    raise InputError(
        f"{weights} does not exist{near_names(weights)}; expected a file, a folder, a name on the Hugging Face hub "
        "such as facebook/mask2former-swin-tiny-coco-panoptic, an hf:// or https:// address, a tag such as "
        "mask2former_swin_small:ADE20K_SEMANTIC, or demo, which needs no network; `lucid-mlx weights list` shows names"
    )


def _listed_address(name: str) -> HubAddress | WebAddress | None:
    """Return the address of a checkpoint that is listed with one, in any capitalization; None for another name."""
    from lucid_mlx.weights.catalog import all_checkpoints

    addresses = {model.name.lower(): model.address for model in all_checkpoints() if model.address}
    if address := addresses.get(name.lower()):
        return _parse_hub_uri(address) if address.startswith("hf://") else WebAddress(address)
    if name.lower().startswith(("video_mask2former", "minvis", "openmmlab")):
        raise InputError(f"there is no checkpoint {name}{near_names(name)}; `lucid-mlx weights list` shows names")
    return None


def near_names(name: str) -> str:
    """Return a question with the listed names that are like a misspelt one; nothing if none is, or it is listed."""
    listed = _listed_names()
    near = difflib.get_close_matches(name[:200].lower(), listed, n=2, cutoff=0.65)
    return f" (did you mean {' or '.join(listed[x] for x in near)}?)" if near and name not in listed.values() else ""


def _listed_names() -> dict[str, str]:
    """Return the names that `lucid-mlx weights list` shows, by what they are in small letters."""
    from lucid_mlx.weights.catalog import all_checkpoints

    return {name.lower(): name for name in (DEMO_FOLDER.name, *(model.name for model in all_checkpoints()))}


def _is_shadowed(name: str, path: Path) -> bool:
    """Return whether a name means a listed checkpoint, though something of that name is on disk; warn of either."""
    if not (name == DEMO_FOLDER.name or ":" in name or "/mask2former-" in name) or name not in _listed_names().values():
        return False
    is_model = path.is_dir() and any((path / file).exists() for file in (CONFIG_FILE, *WEIGHT_FILES))
    here = "the folder" if path.is_dir() else "the file"
    taken, other = (here, "the listed checkpoint") if is_model else ("the listed checkpoint", here)
    way = "rename the folder to use the other" if is_model else f"./{name} means {here}"
    warnings.warn(f"{name} is {taken} here, not {other} of that name; {way}", stacklevel=4)
    return not is_model


def _entry_address(entry: WeightEntry) -> HubAddress | WebAddress:
    address = parse_address(entry.url)
    assert not isinstance(address, Path)
    if isinstance(address, HubAddress):
        return HubAddress(address.repository, address.revision, address.file, entry.sha256)
    return address


def _parse_hub_uri(uri: str) -> HubAddress:
    """Parse `hf://owner/repository[@revision][/path]`."""
    owner, _, rest = uri.removeprefix("hf://").partition("/")
    repository, _, file = rest.partition("/")
    match = _HUB_NAME.fullmatch(f"{owner}/{repository}")
    if match is None:
        raise InputError(f"{uri} is not an address on the hub; expected hf://owner/repository[@revision][/file]")
    return HubAddress(match["repository"], match["revision"] or "main", _checked_file(file, uri))


def _parse_hub_page(path: str, url: str) -> HubAddress:
    """Parse the path of a web page: /owner/repository[/(resolve|blob|tree)/revision[/file]]."""
    parts = unquote(path).strip("/").split("/")
    repository = "/".join(parts[:2])
    if _HUB_NAME.fullmatch(repository):
        if len(parts) == 2:
            return HubAddress(repository)
        if len(parts) >= 4 and parts[2] in ("resolve", "blob", "tree"):
            return HubAddress(repository, parts[3], _checked_file("/".join(parts[4:]), url))
    raise InputError(f"{url} is not a model or file on the hub; expected https://huggingface.co/owner/repository")


def _checked_file(file: str, text: str) -> str | None:
    """Return the path of a file within a repository, None if there is none; refuse one that leaves the repository."""
    if any(part in ("", ".", "..") for part in file.split("/")) and file:
        raise InputError(f"{shown(text, 200)} is no file of a repository")
    return file or None
