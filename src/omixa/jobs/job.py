"""What all jobs share: they go on while the server serves, and end with it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Coroutine, Iterable
from types import TracebackType
from typing import Any, ClassVar, Self


class Job(ABC):
    """Keep it entered while serving: `async with job`. Leaving cancels its rounds and waits for their end."""

    name: ClassVar[str]
    _tasks: Iterable[asyncio.Task[None]] = ()

    @abstractmethod
    def rounds(self) -> Iterable[Coroutine[Any, Any, None]]:
        """Return what goes on side by side until it is cancelled. An error ends it, so each looks after its own."""

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(work, name=self.name) for work in self.rounds()]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
