"""A request as code to copy, in the languages of its readers. The templates are in `programs/`, each a whole program.

Every program takes the key from OMIXA_API_KEY, writes each picture to a file, prints what it cost, and says why it failed.
"""

from __future__ import annotations

import functools
import hashlib
import json
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

from omixa.imaging.inspect import InputFormat
from omixa.web.writing import API_BASE

Value = str | int | bool
CHECKED: Final = "checked.toml"
"""When the programs were run, beside their templates."""
_PROGRAMS: Final = files("omixa.web").joinpath("programs")


@dataclass(frozen=True, slots=True)
class File:
    """A picture that a program reads: its name beside the program, and its media type."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class Language:
    """One of the languages. `lexer` is its name at Pygments, `needs` what must be there to run it.

    `is_run` says that the tests run its programs as pages print them; those of others are only parsed.
    """

    id: str
    name: str
    template: str
    lexer: str
    needs: str
    is_run: bool = True


@dataclass(frozen=True, slots=True)
class Sample:
    """A program that sends a request. `checked_on` is the day on which the tests last ran the programs of its template."""

    language: Language
    source: str
    checked_on: str | None


LANGUAGES: Final = (
    Language("curl", "cURL", "curl.sh", "bash", "Needs curl and python3."),
    Language("javascript", "JavaScript fetch", "fetch.mjs", "javascript", "Node 20 or later, no packages."),
    Language("python", "Python requests", "requests.py", "python", "pip install requests"),
    Language("php", "PHP cURL", "curl.php", "php", "PHP 8.1 or later with its cURL extension."),
    Language("csharp", "C# HttpClient", "HttpClient.cs", "csharp", ".NET 8 or later, no packages.", is_run=False),
    Language("go", "Go net/http", "main.go", "go", "Go 1.19 or later, standard library only."),
    Language("openai-python", "OpenAI Python", "openai.py", "python", "pip install openai"),
    Language("openai-node", "OpenAI Node", "openai.mjs", "javascript", "npm install openai"),
)


def samples(
    body: Mapping[str, Value], *, base_url: str = API_BASE, timeout_s: int, pictures: Sequence[InputFormat] = ()
) -> list[Sample]:
    """Return a program in each language that sends a body; see `sample`."""
    return [sample(one, body, base_url=base_url, timeout_s=timeout_s, pictures=pictures) for one in LANGUAGES]


def sample(
    language: Language,
    body: Mapping[str, Value],
    *,
    base_url: str = API_BASE,
    timeout_s: int,
    pictures: Sequence[InputFormat] = (),
    has_mask: bool = False,
) -> Sample:
    """Return a program in a language that sends a body of strings, integers and booleans.

    `timeout_s` is how long a client should wait: longer than the gateway itself does. For each of the `pictures`, and for the
    mask, it reads a file that stands for the reader's own and sends that too.
    """
    extension = _EXTENSIONS.get(str(body.get("output_format")), body.get("output_format", "png"))
    values = {
        "base_url": base_url,
        "body": body,
        "file": f"image.{extension}",
        "extension": extension,
        "is_several": body.get("n", 1) not in (0, 1),
        "photos": [_photo(number, kind) for number, kind in enumerate(pictures, 1)],
        "mask": File("mask.png", "image/png") if has_mask else None,
        "timeout_s": timeout_s,
        # What OpenAI's clients have no argument for goes where they let anything pass.
        "known": {name: value for name, value in body.items() if name in _OPENAI_ARGUMENTS},
    }
    source = _environment().get_template(f"{language.template}.jinja").render(values)
    return Sample(language, source, checked_on(language))


def template_digest(language: Language) -> str:
    """Return what tells one version of a language's program from another: SHA-256, hexadecimal."""
    return hashlib.sha256(_PROGRAMS.joinpath(f"{language.template}.jinja").read_bytes()).hexdigest()


@functools.cache
def checked_on(language: Language) -> str | None:
    """Return the UTC day on which every program of a language was last run as printed, None where it was changed since.

    `make samples` runs them and writes that down.
    """
    noted = tomllib.loads(_PROGRAMS.joinpath(CHECKED).read_text(encoding="utf-8")).get(language.id)
    return noted["day"] if noted is not None and noted["digest"] == template_digest(language) else None


def _photo(number: int, format: InputFormat) -> File:
    stem = "photo" if number == 1 else f"photo-{number}"
    return File(f"{stem}.{_EXTENSIONS.get(format, format)}", f"image/{format}")


_EXTENSIONS: Final[Mapping[str, str]] = {"jpeg": "jpg"}
_OPENAI_ARGUMENTS: Final = frozenset({"model", "prompt", "n", "size", "output_format", "background", "quality"})


@functools.cache
def _environment() -> Environment:
    # Programs are text; each value is written by the rules of its language.
    environment = Environment(
        loader=PackageLoader("omixa.web", "programs"),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "string": _string,
        "json": _json,
        "shell": _shell,
        "form": _form,
        "python": _literal({True: "True", False: "False"}),
        "js": _literal({True: "true", False: "false"}),
        "php": _php,
        "name": _js_name,
    }
    return environment


def _string(text: str) -> str:
    """Return a string in double quotes, as JavaScript, Python, C# and Go all read it."""
    # These two end a line in C#, and did so in JavaScript.
    return (
        json.dumps(text, ensure_ascii=False)
        .replace("\u2028", "\\u2028")
        .replace("\u2029", "\\u2029")
        .replace("\x7f", "\\u007f")
    )


def _json(body: Mapping[str, Value], indent: int = 2) -> str:
    return json.dumps(body, indent=indent, ensure_ascii=False)


def _form(value: Value) -> str:
    """Return what a form writes for a value."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _shell(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def _literal(booleans: Mapping[bool, str]) -> Callable[[Value], str]:
    def write(value: Value) -> str:
        if isinstance(value, bool):
            return booleans[value]
        return str(value) if isinstance(value, int) else _string(value)

    return write


def _php(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _js_name(name: str) -> str:
    return name if name.isidentifier() and name.isascii() else _string(name)
