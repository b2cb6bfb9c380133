"""The pages of the guide, in the order in which they are read. Their text is in `texts/`, their lists are made from the code."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, get_args

from omixa.access.passwords import MIN_CHARS
from omixa.access.roles import ROLES, Action, may
from omixa.access.signatures import SIGNATURE_HEADER, TIMESTAMP_HEADER
from omixa.api.operation import Operation
from omixa.domain.scenarios import LATENCY_MAX_S, ROUTES_MAX, STEPS
from omixa.gateway.idempotency import KEY_HEADER
from omixa.gateway.people import LINK_LIFETIME_MS, SESSION_IDLE_MS, SESSION_LIFETIME_MS
from omixa.gateway.quotes import CAP_HEADER
from omixa.gateway.rehearsals import PAUSE_MAX_S, SIMULATE_HEADER, SIMULATE_MAX_CHARACTERS
from omixa.gateway.workspaces import HOUR_MS
from omixa.services import Services
from omixa.web.page import Page
from omixa.web.problems import Problem


@dataclass(frozen=True, slots=True)
class Chapter:
    """One page of the guide; its text is `texts/SLUG.md`."""

    slug: str
    title: str
    summary: str


CHAPTERS: Final = (
    Chapter(
        "quickstart",
        "Quickstart",
        "From nothing to a picture with its receipt, on your own machine, without an account.",
    ),
    Chapter("authentication", "Authentication", "The base URL, the headers, and keys: test and live, limited, signed."),
    Chapter(
        "test-mode",
        "Test mode and fault rehearsal",
        "Play money, a simulator in place of the provider, and failures on demand.",
    ),
    Chapter(
        "streaming", "Streaming", "Answers as server-sent events: previews, finished pictures, the receipt at the end."
    ),
    Chapter(
        "edits",
        "Editing pictures",
        "Pictures to rework: as a form or as JSON, several at once, and only a part of one.",
    ),
    Chapter(
        "results", "Results and links", "How pictures come back, how long they are kept, and how they are deleted."
    ),
    Chapter("retries", "Safe retries", "When to send a request again, and why that is charged once."),
    Chapter("billing", "Wallet and billing", "What is held, what is charged, and how to know both before you ask."),
    Chapter(
        "receipts", "Receipts", "What a request did and cost, line by line, and how to check that nobody changed it."
    ),
    Chapter("usage", "Usage reports", "The request log, sums by day and month, closed statements, and exports."),
    Chapter(
        "console",
        "Console",
        "Pages for people: what was spent, every request with its receipt, keys, and who may do what.",
    ),
    Chapter(
        "operators",
        "Operators",
        "Pages for whoever runs the gateway: what is broken, what will change, routes, prices, workspaces, the audit log.",
    ),
    Chapter("events", "Events", "Low balances and refunds, posted to an endpoint of yours, signed and at least once."),
    Chapter(
        "limits", "Limits", "How often, how much at a time, how large: every limit, its number, and what happens there."
    ),
    Chapter("errors", "Errors", "One shape for every error, and a page for every code."),
)


def guide_pages(services: Services, operations: Sequence[Operation], problems: Sequence[Problem]) -> Iterator[Page]:
    """Yield the chapters as pages."""
    paths = {operation.id: f"{operation.method} {operation.path}" for operation in operations}
    settings = services.settings
    values = {
        "paths": paths,
        "operations": operations,
        "settings": settings,
        "limits": settings.limits,
        "problems": problems,
        "key_header": KEY_HEADER,
        "cap_header": CAP_HEADER,
        "simulate_header": SIMULATE_HEADER,
        "simulate_characters": SIMULATE_MAX_CHARACTERS,
        "steps": STEPS,
        "latency_max_s": int(LATENCY_MAX_S),
        "routes_max": ROUTES_MAX,
        "rehearsal_pause_minutes": int(PAUSE_MAX_S) // 60,
        "timestamp_header": TIMESTAMP_HEADER,
        "signature_header": SIGNATURE_HEADER,
        "roles": {role: [action for action in get_args(Action) if may(role, action)] for role in ROLES},
        "link_hours": LINK_LIFETIME_MS // HOUR_MS,
        "idle_hours": SESSION_IDLE_MS // HOUR_MS,
        "session_days": SESSION_LIFETIME_MS // HOUR_MS // 24,
        "min_chars": MIN_CHARS,
        "example_model": min(model.id for model in services.catalogue.models.values() if model.price_lists),
    }

    def same(day: datetime.date) -> Mapping[str, object]:
        return values

    for chapter in CHAPTERS:
        yield Page(f"docs/{chapter.slug}", chapter.title, chapter.summary, "Guide", f"{chapter.slug}.md", "", same)
