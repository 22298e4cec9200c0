"""Find weights in the cache, and remove them."""

from pathlib import Path

from lucid_mlx.errors import InputError
from lucid_mlx.weights.address import HubAddress, WebAddress, parse_address
from lucid_mlx.weights.checkpoint import WEIGHT_FILES
from lucid_mlx.weights.download import blob_path, remove_from_hub_cache, web_cache_path
from lucid_mlx.weights.hub_errors import hub_cache
from lucid_mlx.weights.registry import WeightsLike


def cached_path(weights: WeightsLike) -> Path | None:
    """Return the path of weights in the cache, without access to the network.

    Args:
        weights: a path, a name on the Hugging Face hub, an address, a registry tag or member.

    Returns:
        A file, or the folder of a repository; None if the weights are not in the cache. Digests are not checked.
    """
    address = parse_address(weights)
    if isinstance(address, Path):
        return address if address.exists() else None
    if isinstance(address, WebAddress):
        path = web_cache_path(address.url)
        return path if path.exists() else None
    if address.file is not None:
        return _cached(address, address.file)
    found = (_cached(address, name) for name in WEIGHT_FILES)
    return next((path.parent for path in found if path is not None), None)


def remove_cached(weights: WeightsLike) -> int:
    """Remove weights from the cache.

    Args:
        weights: a name on the Hugging Face hub, an address, a registry tag or member.

    Returns:
        The number of bytes that this frees.

    Raises:
        InputError: if they are not in the cache, or are the user's own file.
    """
    address, path = parse_address(weights), cached_path(weights)
    if isinstance(address, Path):
        raise InputError(f"{address} is not in the cache, but a file of your own; remove it yourself")
    if path is None:
        raise InputError(f"{address} is not in the cache")
    if isinstance(address, HubAddress) and address.file is None:
        return _remove_repository(address)
    size = blob_path(path).stat().st_size
    remove_from_hub_cache(path)
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
