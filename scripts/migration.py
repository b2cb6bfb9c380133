"""Write the next migration from what storage/tables.py says now: python scripts/migration.py "add a table for lots".

The file it writes is a draft: read it, add triggers for immutable tables, and say in its docstring why it exists.
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

from alembic.autogenerate import produce_migrations, render_python_code
from alembic.migration import MigrationContext
from sqlalchemy import create_engine

from omixa.storage import migrations
from omixa.storage.tables import metadata


def main(title: str) -> None:
    folder = Path(migrations.__file__).parent / "versions"
    number = len(list(folder.glob("[0-9]*.py"))) + 1
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/now.db"
        if number > 1:
            migrations.upgrade(url)
        engine = create_engine(url)
        with engine.connect() as connection:
            upgrade = render_python_code(
                produce_migrations(MigrationContext.configure(connection), metadata).upgrade_ops  # type: ignore[arg-type]
            )
        engine.dispose()
    slug = re.sub(r"\W+", "_", title.lower()).strip("_")
    down = f'"{number - 1:04d}"' if number > 1 else "None"
    text = (
        f'"""{title.capitalize()}."""\n\nimport sqlalchemy as sa\nfrom alembic import op\n\n'
        f'revision = "{number:04d}"\ndown_revision = {down}\n\n\n'
        f'def upgrade() -> None:\n    """Apply."""\n    {upgrade.strip()}\n'
    )
    path = folder / f"{number:04d}_{slug}.py"
    path.write_text(text)
    print(path)


if __name__ == "__main__":
    main(sys.argv[1])
