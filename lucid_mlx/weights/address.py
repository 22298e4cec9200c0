"""What a user may write for weights: a path, a name on the Hugging Face hub, an address, a tag of the registry."""

import re
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from urllib.parse import unquote, urlsplit

from lucid_mlx.errors import InputError
from lucid_mlx.weights.registry import WeightEntry, WeightsEnum, WeightsLike, resolve

DEMO = Path(__file__).parents[1] / "demo"  # the small network that comes with the package

_HUB = ("huggingface.co", "www.huggingface.co", "hf.co")
_NAME = re.compile(r"(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^@\s]+))?")


@dataclass(frozen=True)
class HubAddress:
    """A repository on the hub at a revision, or one file of it; `sha256` is the file's if it is known beforehand."""

    repository: str
    revision: str = "main"
    file: str | None = None
    sha256: str | None = None

    def __str__(self) -> str:
        at = "" if self.revision == "main" else f"@{self.revision}"
        return f"{self.repository}{at}" if self.file is None else f"hf://{self.repository}{at}/{self.file}"


@dataclass(frozen=True)
class WebAddress:
    """A file on the web."""

    url: str

    def __str__(self) -> str:
        return self.url


def parse_address(weights: WeightsLike) -> Path | HubAddress | WebAddress:
    """Say where weights are.

    What exists on disk is a path. Else "demo" is the network that comes with the package, and a text is an address if
    it starts with `hf://` or `https://`, a tag of the registry if it has a colon
    ("mask2former_swin_small:ADE20K_SEMANTIC"), a name on the hub if it has a single slash.

    Raises:
        InputError: if it is none of these.
    """
    if isinstance(weights, WeightEntry | WeightsEnum):
        return _of_entry(resolve(weights))
    if not isinstance(weights, str):
        if not isinstance(weights, PathLike):
            raise InputError(f"weights must be a path, a name, an address or a registry member, got {weights!r:.80}")
        return Path(weights).expanduser()
    if weights.startswith("hf://"):
        return _hub(weights)
    if weights.startswith(("https://", "http://")):
        parts = urlsplit(weights)
        return _hub_page(parts.path, weights) if parts.hostname in _HUB else WebAddress(weights)
    path = Path(weights).expanduser()
    if weights and path.exists():
        return path
    if weights == DEMO.name:
        return DEMO
    if re.fullmatch(r"\w+:\w+", weights):
        return _of_entry(resolve(weights))
    if (match := _NAME.fullmatch(weights)) and not weights.startswith("."):
        return HubAddress(match["repository"], match["revision"] or "main")
    raise InputError(
        f"{weights} does not exist; expected a file, a folder, a name on the Hugging Face hub such as "
        "facebook/mask2former-swin-tiny-coco-panoptic, an hf:// or https:// address, or a tag such as "
        "mask2former_swin_small:ADE20K_SEMANTIC, or demo"
    )


def _of_entry(entry: WeightEntry) -> HubAddress | WebAddress:
    address = parse_address(entry.url)
    assert not isinstance(address, Path)
    if isinstance(address, HubAddress):
        return HubAddress(address.repository, address.revision, address.file, entry.sha256)
    return address


def _hub(uri: str) -> HubAddress:
    """Read `hf://owner/repository[@revision][/path]`."""
    owner, _, rest = uri.removeprefix("hf://").partition("/")
    repository, _, file = rest.partition("/")
    match = _NAME.fullmatch(f"{owner}/{repository}")
    if match is None:
        raise InputError(f"{uri} is no address on the hub; expected hf://owner/repository[@revision][/file]")
    return HubAddress(match["repository"], match["revision"] or "main", file or None)


def _hub_page(path: str, url: str) -> HubAddress:
    """Read the path of a page: /owner/repository[/(resolve|blob|tree)/revision[/file]]."""
    parts = unquote(path).strip("/").split("/")
    if len(parts) == 2:
        return HubAddress("/".join(parts))
    if len(parts) >= 4 and parts[2] in ("resolve", "blob", "tree"):
        return HubAddress("/".join(parts[:2]), parts[3], "/".join(parts[4:]) or None)
    raise InputError(f"{url} is no model or file on the hub; expected https://huggingface.co/owner/repository")
