"""All pages of a gateway, and their rendering. A page is made once a day and kept: what it says changes with the price lists."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from omixa import __version__
from omixa.api.operation import Operation
from omixa.services import Services
from omixa.web.assets import Assets
from omixa.web.guide import guide_pages
from omixa.web.models import ModelFacts, Seller, model_facts, sellers
from omixa.web.own import Reader
from omixa.web.page import Page
from omixa.web.playground import model_form
from omixa.web.problems import Problem, problems
from omixa.web.writing import BASE, OWN_KEY, OWN_KEYS, Writer, guide_html, headings, plain

# A list is no page: it is for programs.
Form = Literal["html", "markdown", "list"]

# Models on the first page.
_ON_THE_FRONT = 6
# Headings, and what stands in Markdown as code: names of fields, headers, options and commands.
_TELLING = re.compile(r"^## (.+)$|`([^`\n]{2,40})`", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Kept:
    day: datetime.date
    body: bytes


class Site:
    """The pages by their addresses below the root. `today` says which price lists are in force."""

    def __init__(self, services: Services, operations: Sequence[Operation]) -> None:
        self.assets = Assets()
        self.sellers: Mapping[str, Seller] = {one.model.id: one for one in sellers(services.catalogue)}
        self._services = services
        self._today: Callable[[], datetime.date] = services.pipeline.today
        self._writer = Writer(self.assets)
        self._problems = problems()
        self._pages = {page.path: page for page in self._all_pages(operations)}
        # At most one of each page and form, and each list, so it needs no other bound.
        self._kept: dict[tuple[str, Form], _Kept] = {}

    @property
    def pages(self) -> tuple[Page, ...]:
        """Return all pages, in the order in which they are listed."""
        return tuple(self._pages.values())

    @property
    def today(self) -> datetime.date:
        """Return the UTC day whose prices are shown."""
        return self._today()

    def page(self, path: str) -> Page | None:
        """Return the page at an address, if there is one."""
        return self._pages.get(path)

    def kept(self, path: str, form: Form) -> bytes | None:
        """Return a page or a list where it need not be made."""
        kept = self._kept.get((path, form))
        return kept.body if kept is not None and kept.day == self.today else None

    def render(self, path: str, form: Form) -> bytes:
        """Make a page or a list and keep it. BASE in it stands for the address of the gateway."""
        day = self.today
        body = self._render(path, form, day).encode()
        self._kept[path, form] = _Kept(day, body)
        return body

    def own_keys(self, page: Page, reader: Reader) -> Mapping[str, str]:
        """Return what a page says to a reader in the places that are left for it."""
        root = "../" * page.path.count("/") or "./"
        known = {"root": root, "reader": reader}
        return {
            mark: self._writer.html("own_keys.html", known | {"place": place}).strip("\n")
            for mark, place in ((OWN_KEYS, "list"), (OWN_KEY, "name"))
        }

    def not_found(self, path: str) -> bytes:
        """Return the page that says that there is none at an address."""
        page = Page(path, "Page not found", "There is no such page.", "", "", "missing.html")
        return self._html(page, self.today).encode()

    def page_for(self, page: Page, values: Mapping[str, object]) -> bytes:
        """Return a page that is made for one reader and not kept."""
        root = "../" * page.path.count("/") or "./"
        known = {"version": __version__, "page": page, "root": root}
        return self._writer.html(page.html, {**known, **values}).encode()

    def _render(self, path: str, form: Form, day: datetime.date) -> str:
        if form == "list":
            return _LISTS[path](self, day)
        page = self._pages[path]
        return self._html(page, day) if form == "html" else self._markdown(page, day)

    def _search_index(self, day: datetime.date) -> str:
        """Return what can be found: what is shown of every page that is listed, and the words that lead to it."""
        entries = [
            {
                "title": page.title,
                "path": page.path,
                "group": page.group,
                "text": page.summary,
                "words": " ".join(dict.fromkeys(self._words(page, day))),
            }
            for page in self.pages
            if page.group
        ]
        return msgspec.json.encode(entries).decode()

    def _words(self, page: Page, day: datetime.date) -> Iterator[str]:
        # Lists of all pages would be found by every word.
        if page.path not in ("docs", "docs/models", "docs/errors"):
            for heading, code in _TELLING.findall(self._markdown(page, day)):
                yield (heading or code).lower()

    def _llms(self, day: datetime.date) -> str:
        """Return the list of pages for language models."""
        return self._writer.text("llms.txt", self._values(day) | {"groups": self._groups()})

    def _llms_full(self, day: datetime.date) -> str:
        """Return all pages as one text."""
        pages = (page for page in self.pages if page.text)
        return "\n\n---\n\n".join(self._markdown(page, day).strip() for page in pages) + "\n"

    def _html(self, page: Page, day: datetime.date) -> str:
        root = "../" * page.path.count("/") or "./"
        values = {**self._values(day), **page.values(day), "page": page, "root": root}
        if page.html:
            return self._writer.html(page.html, values)
        text = self._writer.text(page.text, values)
        body = guide_html(text, root)
        return self._writer.html("guide.html", values | {"body": body, "headings": headings(text)})

    def _markdown(self, page: Page, day: datetime.date) -> str:
        values = {**self._values(day), **page.values(day), "page": page}
        text = self._writer.text(page.text, values)
        # Links are read outside of the site, so they are whole.
        return f"# {plain(page.title)}\n\n{page.summary}\n\n{text}".replace("](/", f"]({BASE}/")

    def _values(self, day: datetime.date) -> dict[str, Any]:
        return {
            "version": __version__,
            "day": day,
            "guide": self._guide,
            "usual": self._usual,
            "models": [self._facts(one, day) for one in self.sellers.values()],
        }

    def _facts(self, seller: Seller, day: datetime.date) -> ModelFacts:
        kept = self._known_facts.get(seller.model.id)
        if kept is None or kept[0] != day:
            kept = self._known_facts[seller.model.id] = day, model_facts(seller, self._services, day)
        return kept[1]

    def _groups(self) -> dict[str, list[Page]]:
        groups: dict[str, list[Page]] = {}
        for page in self.pages:
            if page.group and page.text:
                groups.setdefault(page.group, []).append(page)
        return groups

    def _all_pages(self, operations: Sequence[Operation]) -> Iterator[Page]:
        self._known_facts: dict[str, tuple[datetime.date, ModelFacts]] = {}
        self._guide = tuple(guide_pages(self._services, operations, self._problems))
        yield Page(
            "", "Omixa", "One request in, pictures and an exact receipt out.", "", "", "front.html", self._front_values
        )
        yield Page(
            "docs",
            "Documentation",
            "Everything about this gateway: its models with their prices, the guide, and every error.",
            "Start",
            "index.md",
            "index.html",
            lambda day: {"problems": self._problems},
        )
        yield Page(
            "docs/models", "Models", "What can be called here, and what it costs.", "Models", "models.md", "models.html"
        )
        for seller in self.sellers.values():
            yield self._model_page(seller)
        yield self._playground()
        yield from self._guide
        for problem in self._problems:
            yield _problem_page(problem)

    @property
    def _usual(self) -> str:
        """Return the model of the guide's examples."""
        return min((seller.model.id for seller in self.sellers.values() if seller.model.price_lists), default="")

    def _front_values(self, day: datetime.date) -> Mapping[str, object]:
        """Return some models to begin with: those of which there is a picture come first."""
        facts = [self._facts(seller, day) for seller in self.sellers.values()]
        shown = sorted(facts, key=lambda one: not self.assets.has(f"{one.id.lower()}.webp"))
        return {"shown": shown[:_ON_THE_FRONT]}

    def _playground(self) -> Page:
        forms = [model_form(seller, self._services) for seller in self.sellers.values()]
        return Page(
            "playground",
            "Playground",
            "Try every model of this gateway with your own key: the price before, the picture, and the receipt after.",
            "Playground",
            "playground.md",
            "playground.html",
            lambda day: {"forms": forms},
            shows_own_pictures=True,
        )

    def _model_page(self, seller: Seller) -> Page:
        return Page(
            f"docs/models/{seller.slug}",
            seller.model.name,
            seller.model.summary,
            "Models",
            "model.md",
            "model.html",
            lambda day: {"model": self._facts(seller, day)},
            model=seller.model.id,
        )


def _problem_page(problem: Problem) -> Page:
    return Page(
        problem.path, problem.code, problem.text.cause, "Errors", "error.md", "", lambda day: {"problem": problem}
    )


_LISTS: Mapping[str, Callable[[Site, datetime.date], str]] = {
    "llms.txt": Site._llms,
    "llms-full.txt": Site._llms_full,
    "docs/search.json": Site._search_index,
}
