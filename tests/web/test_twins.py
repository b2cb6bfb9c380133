"""Every page and every form of the console and of operators has a twin in the API, and the table that says which is true."""

from __future__ import annotations

from pathlib import Path

import pytest

from omixa.api.openapi import openapi_document
from omixa.api.operations import OPERATIONS
from omixa.catalogue.loader import load_catalogue
from omixa.web.console.routes import ROUTES, ConsoleRoute

BY_ID = {operation.id: operation for operation in OPERATIONS}
TWINNED = [route for route in ROUTES if route.action is not None or route.operates is not None]
TEXTS = Path(openapi_document.__code__.co_filename).parent.parent / "web" / "texts"


def test_only_the_door_has_no_twin() -> None:
    assert [route.path for route in ROUTES if bool(route.twins) != (route in TWINNED)] == []
    # Neither a workspace nor the gateway is behind it.
    assert all(
        route.path.startswith(("/sign-in", "/sign-out", "/welcome/", "/console/profile")) or route.path == "/console"
        for route in ROUTES
        if not route.twins
    )


@pytest.mark.parametrize("route", TWINNED, ids=lambda route: f"{route.method} {route.path}")
def test_a_twin_is_there_and_does_no_less_and_no_more(route: ConsoleRoute) -> None:
    assert len(set(route.twins)) == len(route.twins)
    for twin in route.twins:
        assert twin in BY_ID, f"{route.path} names {twin}, which the API does not have"
        operation = BY_ID[twin]
        # What a page shows is read, what a form changes is changed.
        assert (operation.method == "GET") == (route.method == "GET"), twin
        if route.operates is not None:
            assert operation.for_operators or twin == "getReadiness"
        elif route.method == "POST":
            # A key is asked for the same as a role.
            assert operation.action == route.action, twin
        else:
            assert operation.authenticated, twin


def test_what_only_some_may_do_is_on_a_page() -> None:
    named = {twin for route in ROUTES for twin in route.twins}
    for operation in OPERATIONS:
        if operation.for_operators or operation.action not in ("read", "see_pictures"):
            assert operation.id in named, f"no page has {operation.id}"


def test_the_document_has_every_twin() -> None:
    document = openapi_document(OPERATIONS, load_catalogue())
    found = {one["operationId"] for methods in document["paths"].values() for one in methods.values()}
    assert {twin for route in ROUTES for twin in route.twins} <= found


def test_the_guide_names_every_operation_that_takes_a_scope() -> None:
    text = (TEXTS / "authentication.md").read_text()
    for operation in OPERATIONS:
        if operation.action.startswith("manage_") and operation.action != "manage_settings":
            assert f"`{operation.action}`" in text
            assert operation.path in text, operation.id
