"""From templates and Markdown to HTML. Whatever comes from a catalogue or a request is text here, never markup."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from importlib.resources import files
from typing import Any, Final

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markdown_it.utils import OptionsDict
from markupsafe import Markup, escape
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES, Whitespace
from pygments.util import ClassNotFound

from omixa.domain.money import format_usd
from omixa.domain.times import iso_time
from omixa.web.assets import Assets

# Stands in pages for the address of this gateway, which is put in when a page is sent: ".invalid" is nobody's domain.
BASE: Final = "https://gateway.invalid"
API_BASE: Final = f"{BASE}/api/v1"
# Stand in the page of a model for what is said to a reader who has signed in; see own.py.
OWN_KEYS: Final = "<!-- own keys -->"
OWN_KEY: Final = "<!-- own key -->"

_THOUSANDS = re.compile(r"\B(?=(?:\d{3})+$)")
_HEADING_WORD = re.compile(r"[a-z0-9]+")


class Writer:
    """Renders templates. `root` in their values is the way from a page to the root, such as "../../"."""

    def __init__(self, assets: Assets) -> None:
        loader = PackageLoader("omixa.web", "templates")
        self._html = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
        self._html.globals |= {"asset": _asset_of(assets), "has_asset": assets.has, "icon": _icon, "link": _link}
        self._html.globals |= {"own_keys": Markup(OWN_KEYS), "own_key": Markup(OWN_KEY)}  # noqa: S704
        self._html.filters |= {"markdown": _markdown, "inline": _inline, "code": highlighted}
        self._html.filters |= {"usd": format_usd, "brief": brief, "when": _when}
        # Markdown is text: what it could do as HTML is taken from it where it becomes HTML.
        self._text = Environment(
            loader=PackageLoader("omixa.web", "texts"),
            autoescape=False,  # noqa: S701
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        self._text.filters |= {"cell": cell, "code": code_span, "plain": plain}
        for environment in (self._html, self._text):
            environment.globals |= {"base": BASE, "api_base": API_BASE}

    def html(self, template: str, values: Mapping[str, object]) -> str:
        """Return a page of HTML. Raises UndefinedError when the template names what is not in the values."""
        return self._html.get_template(template).render(values)

    def text(self, template: str, values: Mapping[str, object]) -> str:
        """Return a page of Markdown. Raises UndefinedError when the template names what is not in the values."""
        return self._text.get_template(template).render(values)


def code_span(text: object) -> str:
    """Return text as code in Markdown, whatever backticks it holds."""
    shown = " ".join(str(text).split()) or " "
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    padding = " " if "`" in shown else ""
    return f"{fence}{padding}{shown}{padding}{fence}"


def cell(markdown: str) -> str:
    """Return Markdown that fits into a cell of a table."""
    return re.sub(r"(?<!\\)\|", r"\\|", " ".join(markdown.split()))


def plain(text: str) -> str:
    """Return text as Markdown that shows it as it is."""
    return re.sub(r"([\\`*{}\[\]<>#|])", r"\\\1", text)


def highlighted(source: str, language: str) -> Markup:
    """Return source text with its words in spans, for a <pre>; an unknown language stays plain."""
    try:
        lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    except ClassNotFound:
        return escape(source)
    # The formatter escapes what it writes.
    return Markup(highlight(source, lexer, HtmlFormatter(nowrap=True)).rstrip("\n"))  # noqa: S704


def colours(source: str, language: str) -> Iterator[tuple[str, str]]:
    """Yield the pieces of a source text, each with its class or an empty one, for a script that makes the spans."""
    shown, text = "", ""
    for token, piece in get_lexer_by_name(language, stripnl=False, ensurenl=False).get_tokens(source):
        # The nearest kind that has a class of its own; the root of all kinds has an empty one.
        kind = next(kind for kind in reversed(token.split()) if kind in STANDARD_TYPES)
        name = "" if kind is Whitespace else STANDARD_TYPES[kind]
        if name != shown and text:
            yield shown, text
            text = ""
        shown, text = name, text + piece
    if text:
        yield shown, text


def guide_html(markdown: str, root: str) -> Markup:
    """Return the HTML of a guide page, with an id on every heading."""
    return Markup(_guide_parser().render(markdown, {"root": root}))  # noqa: S704 - the parser escapes HTML


def brief(usd: str) -> str:
    """Return an amount of six digits behind the point with as many as it needs, at least two, and its thousands apart."""
    whole, _, digits = usd.partition(".")
    return f"{_THOUSANDS.sub(',', whole)}.{digits[:2]}{digits[2:].rstrip('0')}"


def _when(at_ms: int) -> Markup:
    """Return Unix milliseconds as UTC to the second."""
    text = iso_time(at_ms)
    return Markup('<time datetime="{}">{}</time>').format(text, f"{text[:10]} {text[11:19]}")


def headings(markdown: str) -> list[tuple[str, str]]:
    """Return the id and the text of every heading of the second level."""
    tokens = _guide_parser().parse(markdown)
    return [
        (str(token.attrs["id"]), tokens[place + 1].content.replace("`", ""))
        for place, token in enumerate(tokens)
        if token.type == "heading_open" and token.tag == "h2"
    ]


@pass_context
def _link(context: Context, path: str) -> str:
    """Return an address below the root as seen from the page."""
    return f"{context['root']}{path}"


def _asset_of(assets: Assets) -> Any:
    @pass_context
    def asset(context: Context, name: str) -> str:
        return f"{context['root']}{assets.path(name)}"

    return asset


@functools.cache
def _icons() -> dict[str, str]:
    text = (files("omixa.web") / "vendor" / "icons.json").read_bytes()
    return msgspec.json.decode(text, type=dict[str, str])


def _icon(name: str) -> Markup:
    """Return a picture that says nothing by itself: what it stands for is written beside it."""
    return Markup('<svg class="i" viewBox="0 0 24 24" aria-hidden="true">{}</svg>').format(
        Markup(_icons()[name])  # noqa: S704 - a file of our own
    )


def _markdown(text: str) -> Markup:
    """Return the HTML of a catalogue's Markdown, which may hold no HTML and no pictures."""
    return Markup(_catalogue_parser().render(text))  # noqa: S704 - the parser escapes HTML


def _inline(text: str) -> Markup:
    return Markup(_catalogue_parser().renderInline(text))  # noqa: S704 - the parser escapes HTML


@functools.cache
def _catalogue_parser() -> MarkdownIt:
    # Headings would break the order of the page's own; pictures would be fetched from elsewhere.
    return MarkdownIt("commonmark", {"html": False}).disable(
        ["image", "heading", "lheading", "html_block", "html_inline"]
    )


@functools.cache
def _guide_parser() -> MarkdownIt:
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable("image")
    parser.core.ruler.push("heading_ids", _give_ids)
    parser.add_render_rule("fence", _fence)
    parser.add_render_rule("link_open", _link_open)
    parser.core.ruler.push("column_names", _name_columns)
    parser.add_render_rule("table_open", _table_open)
    parser.add_render_rule("table_close", lambda *_: "</table></div>\n")
    return parser


def _give_ids(state: Any) -> None:
    used: set[str] = set()
    for place, token in enumerate(state.tokens):
        if token.type == "heading_open":
            words = _HEADING_WORD.findall(state.tokens[place + 1].content.lower())
            name = "-".join(words) or "section"
            while name in used:
                name += "-"
            used.add(name)
            token.attrs["id"] = name


def _name_columns(state: Any) -> None:
    """Give every cell the name of its column, which narrow screens show in front of it; the table knows them all."""
    names: list[str] = []
    column = 0
    for place, token in enumerate(state.tokens):
        if token.type == "table_open":
            names = token.meta["columns"] = []
        elif token.type == "th_open":
            names.append(state.tokens[place + 1].content)
        elif token.type == "tr_open":
            column = 0
        elif token.type == "td_open":
            token.attrs["data-label"] = names[column]
            column += 1


def _table_open(
    renderer: RendererHTML, tokens: Sequence[Token], place: int, options: OptionsDict, env: Mapping[str, Any]
) -> str:
    wide = " wide" if len(tokens[place].meta["columns"]) > 2 else ""
    return f'<div class="tbl{wide}" tabindex="0"><table>\n'


def _fence(
    renderer: RendererHTML, tokens: Sequence[Token], place: int, options: OptionsDict, env: Mapping[str, Any]
) -> str:
    source, language = tokens[place].content.rstrip("\n"), tokens[place].info.strip()
    return Markup(
        '<div class="code"><div class="code-h"><span>{}</span><span class="grow"></span>'
        '<button class="btn sm" type="button" data-copy="{}" hidden>{}<span data-label>Copy</span></button></div>'
        '<pre tabindex="0" id="{}">{}</pre></div>\n'
    ).format(
        _LANGUAGES.get(language, language),
        f"code-{place}",
        _icon("copy"),
        f"code-{place}",
        highlighted(source, language or "text"),
    )


_LANGUAGES: Final[Mapping[str, str]] = {
    "sh": "Shell",
    "json": "JSON",
    "python": "Python",
    "js": "JavaScript",
    "http": "HTTP",
    "text": "Text",
    "toml": "TOML",
}


def _link_open(
    renderer: RendererHTML, tokens: Sequence[Token], place: int, options: OptionsDict, env: MutableMapping[str, Any]
) -> str:
    target = str(tokens[place].attrs["href"])
    if target.startswith("/"):
        tokens[place].attrs["href"] = env["root"] + target[1:]
    return renderer.renderToken(tokens, place, options, env)
