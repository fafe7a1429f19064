"""Many images through one chain: words asked for in batches, pixels made in batches, and both at the same time.

Images are dealt into groups. While the prompter describes one group's next state, the backbone renders another's: the official numbers say
that the words cost more than the picture, so neither should wait for the other.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice

from chainzoom.chain import Chain
from chainzoom.course import Course, Task, Words
from chainzoom.errors import OptionError
from chainzoom.step import Step

Active = list[tuple[int, Course]]
Asked = tuple[list[tuple[int, Course, Task]], "Future[list[Words]]"]


def run_many(chain: Chain, courses: Iterable[Course], *, batch: int = 8, ahead: int = 2) -> Iterator[tuple[int, Step]]:
    """Yield (number of the image, step) for many images, each image's steps in order.

    courses  one ``chain.course(...)`` an image; taken from the iterable only when there is room, so a million images need no memory
    batch    images that go through the prompter and the backbone together
    ahead    groups of images on their way at once; 1 asks and renders in turn, 2 overlaps them

    The steps are those of ``chain.run`` up to the rounding of batched arithmetic. Closing the iterator stops after the work in hand.
    """
    if batch < 1 or ahead < 1:
        raise OptionError(f"batch and ahead take integers of at least 1; got {batch} and {ahead}")
    numbered = iter(enumerate(courses))
    waiting: deque[Asked] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="prompter") as asker:
        try:
            while True:
                while len(waiting) < ahead and (group := _ask(chain, asker, list(islice(numbered, batch)))):
                    waiting.append(group)
                if not waiting:
                    return
                tasks, words = waiting.popleft()
                said = words.result()
                steps = chain.render([(course, task) for _, course, task in tasks], said)
                # Ask for this group's next words before handing the steps out, so that the prompter works while the caller does.
                if group := _ask(chain, asker, [(number, course) for number, course, _ in tasks]):
                    waiting.append(group)
                yield from zip((number for number, _, _ in tasks), steps, strict=True)
        finally:
            for _, words in waiting:
                words.cancel()


def _ask(chain: Chain, asker: ThreadPoolExecutor, group: Active) -> Asked | None:
    """Take each image's next task and ask for the words of all; None when no image has one."""
    tasks = [(number, course, task) for number, course in group for task in islice(course, 1)]
    return (tasks, asker.submit(chain.describe, [task for _, _, task in tasks])) if tasks else None
