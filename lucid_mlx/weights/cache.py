"""What is on disk already: find it, and remove it."""

from pathlib import Path

from lucid_mlx.errors import InputError
from lucid_mlx.weights.address import HubAddress, WebAddress, parse_address
from lucid_mlx.weights.download import WEIGHT_FILES, blob_of, hub_cache, remove, web_file
from lucid_mlx.weights.registry import WeightsLike


def cached_path(weights: WeightsLike) -> Path | None:
    """Return where weights lie in the cache, a file or a repository's folder; None if they are not there.

    Neither the network is asked nor a digest computed.
    """
    address = parse_address(weights)
    if isinstance(address, Path):
        return address if address.exists() else None
    if isinstance(address, WebAddress):
        path = web_file(address.url)
        return path if path.exists() else None
    if address.file is not None:
        return _cached(address, address.file)
    found = (_cached(address, name) for name in WEIGHT_FILES)
    return next((path.parent for path in found if path is not None), None)


def remove_cached(weights: WeightsLike) -> int:
    """Remove weights from the cache; return how many bytes that frees.

    Raises:
        InputError: if they are not in the cache, or are the user's own file.
    """
    address, path = parse_address(weights), cached_path(weights)
    if isinstance(address, Path):
        raise InputError(f"{address} is not in the cache but your own; remove it yourself")
    if path is None:
        raise InputError(f"{address} is not in the cache")
    if isinstance(address, HubAddress) and address.file is None:
        return _remove_repository(address)
    size = blob_of(path).stat().st_size
    remove(path)
    return size


def _cached(address: HubAddress, name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(address.repository, name, hub_cache(), address.revision)
    return Path(found) if isinstance(found, str) else None


def _remove_repository(address: HubAddress) -> int:
    from huggingface_hub import scan_cache_dir

    info = scan_cache_dir(hub_cache())
    commits = [
        revision.commit_hash
        for repository in info.repos
        if repository.repo_id == address.repository and repository.repo_type == "model"
        for revision in repository.revisions
    ]
    strategy = info.delete_revisions(*commits)
    strategy.execute()
    return int(strategy.expected_freed_size)
