"""Servers that are forked from a process that has imported all they need, because hundreds of them start only to be killed.

Each is a process of its own that runs the command line with the arguments of any other server; it only need not load its code.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from omixa.cli import main
from tests.support.serving import ServerProcess, environment, listening, serve_arguments, serve_variables


def serve(arguments: Sequence[str], variables: Mapping[str, str], standard_error: Connection) -> None:
    """Be `omixa`. Runs in a child."""
    os.dup2(standard_error.fileno(), 2)
    os.environ.clear()
    os.environ.update(variables)
    main(arguments, prog_name="omixa")


class _Forked:
    """A child with the methods of a process that was started by a command."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        self.kill = process.kill
        self.terminate = process.terminate

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def wait(self, timeout: float | None = None, /) -> int:
        self._process.join(timeout)
        code = self._process.exitcode
        assert code is not None, "the server does not end"
        return code


@contextlib.contextmanager
def forked_server(data_dir: Path, provider_url: str) -> Iterator[ServerProcess]:
    """Run `omixa serve` with live keys on a provider."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.proof.server_nursery"])
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(
        target=serve, args=(serve_arguments(data_dir), environment(serve_variables(provider_url)), theirs)
    )
    process.start()
    theirs.close()
    with ours, os.fdopen(os.dup(ours.fileno()), encoding="utf-8") as told, listening(_Forked(process), told) as server:
        yield server
