"""Prefetch: make the next item of an iterable on a thread while the current one is used."""

from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T]) -> Generator[T, None, None]:
    """Iterate over items, of which a thread makes one in advance.

    Args:
        items: to iterate over; an error that they raise is raised in the item's place.

    Yields:
        The items in order.
    """
    iterator = iter(items)
    with ThreadPoolExecutor(1, "lucid-mlx-prefetch") as thread:

        def submit_next() -> "Future[list[T]]":
            return thread.submit(lambda: list(islice(iterator, 1)))

        future = submit_next()
        while item := future.result():
            future = submit_next()
            yield item[0]
