"""Read the next image while this one is segmented."""

from collections.abc import Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterable[T]) -> Generator[T, None, None]:
    """Yield items in order, while a thread makes the next one; an error comes in its place."""
    waiting = iter(items)
    with ThreadPoolExecutor(1, "lucid-mlx-ahead") as thread:

        def following() -> "Future[list[T]]":
            return thread.submit(lambda: list(islice(waiting, 1)))

        future = following()
        while item := future.result():
            future = following()
            yield item[0]
