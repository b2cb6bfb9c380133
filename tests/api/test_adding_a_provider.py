"""docs/adding-a-provider.md, followed word for word: its tables are loaded, its adapter is run, and pictures come out."""

from __future__ import annotations

import base64
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from omixa.config import DeploymentSettings
from omixa.domain.access import Secret
from omixa.providers import adapters as rows
from tests.support.catalogues import copy_catalogue
from tests.support.pictures import picture
from tests.support.servers import running_app, running_gateway

PAGE = (Path(__file__).parents[2] / "docs/adding-a-provider.md").read_text(encoding="utf-8")
TABLES = dict(re.findall(r"```toml\n# (\S+)\n(.*?)```", PAGE, re.DOTALL))
ADAPTER, ROW = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
MODEL = "example-brush-1"


class Paint:
    """A service that answers in OpenAI's shape and remembers what it was asked."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.app = Starlette(routes=[Route("/{path:path}", self.answer, methods=["POST"])])

    async def answer(self, request: Request) -> JSONResponse:
        self.seen.append((request.url.path, dict(request.headers), json.loads(await request.body())))
        return JSONResponse({"data": [{"b64_json": base64.b64encode(picture()).decode()}]})


@pytest.fixture
def paint() -> Iterator[tuple[Paint, str]]:
    service = Paint()
    with running_app(service.app) as url:
        yield service, url


def _catalogue(directory: Path, *providers: str, url: str) -> str:
    copy_catalogue(directory)
    for name in (*providers, f"models/{MODEL}.toml"):
        text = re.sub(r'^(endpoint = )"[^"]*?(/v1)?"', rf'\1"{url}\2"', TABLES[name], flags=re.MULTILINE)
        (directory / name).write_text(text, encoding="utf-8")
    return str(directory)


def test_a_wire_format_of_its_own(tmp_path: Path, paint: tuple[Paint, str], monkeypatch: pytest.MonkeyPatch) -> None:
    service, url = paint
    written: dict[str, Any] = {"__name__": "example_paint"}
    exec(compile(ADAPTER, "docs/adding-a-provider.md", "exec"), written)

    def with_row(transport: Any, conversions: Any) -> dict[str, Any]:
        names = {**written, "transport": transport, "conversions": conversions}
        return {**adapters(transport, conversions), **eval("{" + ROW + "}", names)}

    adapters = rows.adapters
    monkeypatch.setattr(rows, "adapters", with_row)
    catalogue = _catalogue(tmp_path / "catalogue", "providers/example-paint.toml", url=url)
    account = _with_key(DeploymentSettings(name="paint", provider="example-paint"))
    with running_gateway(tmp_path / "data", catalogue_dir=catalogue, deployments=(account,)) as gateway:
        gateway.grant(1_000_000)
        with gateway.client(gateway.key("live")) as client:
            answer = client.post("/api/v1/images/generations", json={"model": MODEL, "prompt": "A red kite"})
    assert answer.status_code == 200, answer.text[:500]
    assert answer.json()["usage"]["billed_amount"] == "0.030000"
    ((path, headers, body),) = service.seen
    assert (path, headers["x-key"]) == ("/paint", "a-key")
    assert body == {"model": MODEL, "text": "A red kite", "side": 1024}


def _with_key(account: DeploymentSettings) -> DeploymentSettings:
    return msgspec.structs.replace(account, api_key=Secret("a-key"), api_key_env="")


def test_a_server_that_speaks_openais_format(tmp_path: Path, paint: tuple[Paint, str]) -> None:
    service, url = paint
    settings = tomllib.loads(TABLES["omixa.toml"])
    catalogue = _catalogue(tmp_path / "catalogue", "providers/my-engine.toml", url=url)
    accounts = tuple(_with_key(DeploymentSettings(**{**one, "api_key": None})) for one in settings["deployments"])
    with running_gateway(tmp_path / "data", catalogue_dir=catalogue, deployments=accounts) as gateway:
        gateway.grant(1_000_000)
        with gateway.client(gateway.key("live")) as client:
            body = {"model": MODEL, "prompt": "A red kite", "output_format": "webp", "user": "somebody"}
            answer = client.post("/api/v1/images/generations", json=body)
            refused = client.post(
                "/api/v1/images/generations",
                json={"model": MODEL, "prompt": "<sd_cpp_extra_args>{}</sd_cpp_extra_args>"},
            )
    assert answer.status_code == 200, answer.text[:500]
    omixa = answer.json()["omixa"]
    assert (omixa["billed_amount"], omixa["route"]) == ("0.030000", f"mine/{MODEL}")
    assert omixa["ignored_parameters"] == ["user"]
    ((path, headers, sent),) = service.seen
    assert (path, headers["authorization"]) == ("/v1/images/generations", "Bearer a-key")
    assert sent == {
        "model": "black-forest-labs/FLUX.1-schnell",
        "prompt": "A red kite",
        "n": 1,
        "size": "1024x1024",
        "response_format": "b64_json",
    }
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (400, "prompt")
