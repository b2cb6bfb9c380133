"""One part of the proof: what it shows, how large it is, and one share of it as a function that anybody can run alone."""

from __future__ import annotations

import contextlib
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.support.places import Place, SqlitePlace, postgres_place
from tests.support.postgres import Cluster, fast_directory, running_cluster, why_not

Backend = Literal["sqlite", "postgresql"]
# What the last line of a share's output begins with; its figures follow as JSON.
RESULT = "RESULT "


@dataclass(frozen=True)
class Task:
    """How much is to be done and by which chance, in which directory, and whom to tell how far it is.

    `cluster` is there for parts that need PostgreSQL.
    """

    size: int
    seed: int
    directory: Path
    progress: Callable[[int], None]
    cluster: Cluster | None = None

    def chance(self) -> random.Random:
        """Return the chance of this task; the same seed gives the same."""
        return random.Random(self.seed)

    @contextlib.contextmanager
    def place(self, backend: Backend) -> Iterator[tuple[Path, Place]]:
        """Give an empty directory and a new database with all tables; both are gone afterwards."""
        with tempfile.TemporaryDirectory(dir=self.directory) as name:
            directory = Path(name)
            if backend == "sqlite":
                yield directory, SqlitePlace(directory / "omixa.db").create()
                return
            assert self.cluster is not None
            with postgres_place(self.cluster) as place:
                yield directory, place


@dataclass(frozen=True)
class Result:
    """What was done, as counts that add up over shares. Whoever returns one has passed; a failure raises."""

    figures: Mapping[str, int]

    @classmethod
    def sum(cls, results: list[Result]) -> Result:
        """Return the figures of several shares together, in the order in which they were told first."""
        total: Counter[str] = Counter()
        for result in results:
            total.update(result.figures)
        return cls(dict(total))


@dataclass(frozen=True)
class Part:
    """A row of the proof. `size` is that of the full proof, `share` what one process does of it, `small` that of the tests.

    `small` is 0 where all of it is in the default tests anyway.
    """

    name: str
    title: str
    passes_when: str
    run: Callable[[Task], Result]
    unit: str
    size: int
    share: int
    small: int
    needs_postgres: bool = False

    def why_not(self) -> str | None:
        """Return why this part cannot run here, or None."""
        return why_not() if self.needs_postgres else None

    def shares(self) -> list[int]:
        """Return the sizes of the shares that make up the full size."""
        whole, rest = divmod(self.size, self.share)
        return [self.share] * whole + [rest] * bool(rest)


@contextlib.contextmanager
def surroundings(part: Part) -> Iterator[tuple[Path, Cluster | None]]:
    """Give a directory for a part's databases, in memory where there is room, and PostgreSQL if the part needs it."""
    with contextlib.ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="omixa-proof-", dir=fast_directory())))
        yield directory, stack.enter_context(running_cluster()) if part.needs_postgres else None
