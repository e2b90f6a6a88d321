"""What one thread asks another one for is served, whenever it is asked."""

from __future__ import annotations

import threading
from collections import deque
from typing import Any

from chio_fast.kafka.errands import Errands

BLOCKED = 0.2
"""Seconds in which an errand is posted, unless it has to wait."""


def test_an_errand_that_is_posted_while_the_last_one_is_served_is_seen() -> None:
    errands = Errands()
    posters: list[threading.Thread] = []

    class Asked(deque[Any]):
        """Has another errand posted right after it was found empty for the second time: the queue is left then."""

        looks = 0

        def __bool__(self) -> bool:
            found = len(self) > 0
            self.looks += not found
            if self.looks == 2 and not posters:
                posters.append(threading.Thread(target=errands.post, args=(lambda: None,)))
                posters[0].start()
                posters[0].join(BLOCKED)
            return found

    errands._asked = Asked()
    errands.post(lambda: None)
    errands.serve()
    [poster] = posters
    poster.join()
    assert errands.waiting


def test_who_posts_wakes_the_thread_that_serves_once_there_is_something_to_serve() -> None:
    errands = Errands()
    seen: list[bool] = []
    errands.wake = lambda: seen.append(errands.waiting)
    errands.post(lambda: None)
    assert seen == [True]
