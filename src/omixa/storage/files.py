"""Small files that must be there, whole, before anything depends on them: secrets, and marks of whose a directory is."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from omixa.storage.blobs import sync_directory


def create_durably(path: Path, text: str) -> None:
    """Write a file that several first processes may want to create at the same time: only one of them decides.

    Nobody but its owner may read it.
    """
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}-") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
        # A link fails where the name is taken.
        with contextlib.suppress(FileExistsError):
            os.link(file.name, path)
    sync_directory(path.parent)
