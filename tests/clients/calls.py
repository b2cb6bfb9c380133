"""Reads calls of a client library as lines of JSON, makes one after the other, and answers each with a line of JSON."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any

Call = Callable[..., Any]


def serve(calls: Mapping[str, Call], describe: Callable[[Exception], Mapping[str, Any]]) -> None:
    """Answer until there are no further lines; `describe` gives what the library says of an error."""
    # What libraries print is not an answer.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    for line in sys.stdin:
        fields = json.loads(line)
        call = calls[fields.pop("call")]
        try:
            answer = {"made": call(**fields)}
        except Exception as error:  # noqa: BLE001 - told to the test
            told = {"name": type(error).__name__, "message": str(error), **describe(error)}
            answer = {"error": told}
        print(json.dumps(answer), file=answers, flush=True)
