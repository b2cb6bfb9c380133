"""Pages over HTTP: all of them are there, say what the catalogue says, and send nothing that a browser should not run."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import httpx2 as httpx
import pytest

from omixa.api.examples import example_request
from omixa.catalogue.loader import load_catalogue
from omixa.domain.models import Model
from omixa.domain.money import format_percent
from omixa.web.guide import CHAPTERS
from omixa.web.pages import PLAYGROUND_POLICY, POLICY
from omixa.web.problems import error_codes, error_texts
from omixa.web.samples import LANGUAGES
from tests.support.catalogues import copy_catalogue
from tests.support.servers import Gateway, Simulator, running_gateway

MODELS = [model for _, model in sorted(load_catalogue().models.items())]
GUIDE = [chapter.slug for chapter in CHAPTERS]


class Tags(HTMLParser):
    """What a page is made of: the addresses that it names, its ids, and attributes and elements that a policy forbids."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.files: list[str] = []
        self.ids: list[str] = []
        self.forbidden: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [given["href"] or ""] if tag == "a" and "href" in given else []
        self.files += [given[name] or "" for name in ("src", "href") if tag != "a" and name in given]
        self.ids += [given["id"] or ""] if "id" in given else []
        if tag == "style" or (tag == "script" and "src" not in given) or "style" in given:
            self.forbidden.append(tag)
        self.forbidden += [name for name in given if name.startswith("on")]


@pytest.fixture(scope="module")
def pages(gateway: Gateway) -> Iterator[httpx.Client]:
    """A client without a key."""
    with gateway.client(None) as client:
        yield client


def paths(client: httpx.Client) -> list[str]:
    """Return the address of every page."""
    index = client.get("/docs/search.json").json()
    return ["/", *(f"/{entry['path']}" for entry in index)]


def text_of(html: str) -> str:
    """Return what a page shows, without its code blocks' spans."""

    class Text(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.pieces: list[str] = []

        def handle_data(self, data: str) -> None:
            self.pieces.append(data)

    parser = Text()
    parser.feed(html)
    return "".join(parser.pieces)


def test_every_page_is_sent_with_its_headers(pages: httpx.Client) -> None:
    found = paths(pages)
    assert {f"/docs/{name}" for name in GUIDE} <= set(found)
    assert {f"/docs/models/{model.id}" for model in MODELS} <= set(found)
    assert {f"/docs/errors/{code}" for code in error_codes()} <= set(found)
    for path in found:
        answer = pages.get(path)
        assert answer.status_code == 200, path
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        policy = PLAYGROUND_POLICY if path == "/playground" else POLICY
        assert answer.headers["content-security-policy"] == policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        tags = Tags(answer.text)
        assert not tags.forbidden, path
        assert len(tags.ids) == len(set(tags.ids)), path
        assert "gateway.invalid" not in answer.text


def test_every_link_and_every_file_of_every_page_is_there(pages: httpx.Client) -> None:
    targets: dict[str, str] = {}
    for path in paths(pages):
        address = httpx.URL(f"http://host{path}")
        tags = Tags(pages.get(path).text)
        for target in (*tags.links, *tags.files):
            if target.startswith("#"):
                assert target[1:] in tags.ids, f"{path}: {target}"
                continue
            joined = address.join(target)
            if target.startswith("https://"):
                # A page is made of nothing from elsewhere, though it may lead there.
                assert target not in tags.files
                continue
            assert joined.host == "host", f"{path}: {target}"
            targets.setdefault(joined.path, path)
    for target, path in targets.items():
        # The console leads whoever has not signed in to the door.
        assert pages.get(target, follow_redirects=True).status_code == 200, f"{path} names {target}"


def test_files_are_kept_for_ever_and_their_names_change_with_them(pages: httpx.Client) -> None:
    (style,) = [file for file in Tags(pages.get("/").text).files if file.endswith(".css")]
    packed = pages.get(f"/{style}")
    assert packed.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert packed.headers["content-encoding"] == "gzip"
    plain = pages.get(f"/{style}", headers={"accept-encoding": "identity"})
    assert "content-encoding" not in plain.headers
    assert plain.content == packed.content
    for font in re.findall(r'url\("([^"]+)"\)', plain.text):
        assert pages.get(f"/static/{font}").headers["content-type"] == "font/woff2"
    wrong = re.sub(r"\.[0-9a-f]{10}\.", ".0000000000.", style)
    assert wrong != style
    assert pages.get(f"/{wrong}").status_code == 404


def test_a_page_stays_below_its_weight(pages: httpx.Client) -> None:
    for path in paths(pages):
        assert weight(pages, path) < MAX_WEIGHT, path


MAX_WEIGHT = 150_000


def weight(client: httpx.Client, path: str) -> int:
    """Return the compressed bytes of all scripts and styles that a page needs, those that scripts import among them."""
    files = {file for file in Tags(client.get(path).text).files if file.endswith((".js", ".css"))}
    named = {httpx.URL(f"http://host{path}").join(file) for file in files}
    seen: dict[str, bytes] = {}
    while named:
        address = named.pop()
        if address.path not in seen:
            answer = client.get(address.path)
            assert answer.status_code == 200, address
            seen[address.path] = answer.content
            named |= {address.join(file) for file in re.findall(r' from "(\./[^"]+)";', answer.text)}
    assert len(seen) >= len(files) > 0
    return sum(len(gzip.compress(body)) for body in seen.values())


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_a_model_page_and_its_twin_say_what_the_catalogue_says(
    pages: httpx.Client, model: Model, gateway: Gateway
) -> None:
    html = text_of(pages.get(f"/docs/models/{model.id}").text)
    twin = pages.get(f"/docs/models/{model.id}.md").text
    prices = model.price_lists[-1]
    for text in (html, twin):
        assert model.name in text
        assert model.summary in text
        assert f"{gateway.api}/images/generations" in text
        assert prices.version in text
        for line in prices.lines:
            assert re.search(rf"(?<![\d.]){re.escape(line.usd)}(?![\d])", text), line.name
        for parameter in model.parameters:
            assert parameter.name in text
            for value in parameter.accepted:
                assert str(value) in text
        for language in LANGUAGES:
            assert language.name in text
        assert f"{model.context_window_tokens:,} tokens" in text
    assert html.count(gateway.api) >= len(LANGUAGES)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_the_example_is_the_catalogues_and_costs_what_the_estimate_says(
    pages: httpx.Client, test_client: httpx.Client, model: Model
) -> None:
    twin = pages.get(f"/docs/models/{model.id}.md").text
    payload, *answers = re.findall(r"```json\n(.*?)\n```", twin, re.DOTALL)
    assert json.loads(payload) == (example_request(model) if model.needs_pictures else dict(model.example))
    estimate = test_client.post("/api/v1/images/estimate", json=json.loads(payload)).json()
    if not model.counts_by_size:
        # What nobody can know before is not shown.
        assert (answers, estimate["expected"]) == ([], None)
        return
    shown = json.loads(answers[0])
    assert shown["usage"]["billed_amount"] == estimate["expected"]["amount"]
    assert shown["omixa"]["line_items"] == estimate["expected"]["line_items"]
    assert f"${estimate['expected']['amount']}" in text_of(pages.get(f"/docs/models/{model.id}").text)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_the_calculator_agrees_with_the_estimate(pages: httpx.Client, test_client: httpx.Client, model: Model) -> None:
    size = model.parameter("size")
    assert size is not None
    prompt = "A lamp on a desk"
    tokens = len(prompt.split())
    for name in size.accepted:
        body = {**example_request(model), "prompt": prompt, "size": name}
        if not model.needs_pictures:
            body.pop("input_images", None)
        estimate = test_client.post("/api/v1/images/estimate", json=body).json()
        query = {"size": name, "pictures": 1000, "prompt_tokens": tokens}
        cost = pages.get(f"/docs/models/{model.id}/cost", params=query).json()
        if not model.counts_by_size:
            assert (cost["error"]["param"], estimate["expected"]) == ("size", None)
            continue
        assert cost["each"] == estimate["expected"]["amount"]
        assert cost["price_version"] == estimate["price_version"]
        each, amount = (int(cost[key].replace(".", "")) for key in ("each", "amount"))
        assert amount == 1000 * each


@pytest.mark.parametrize(
    ("query", "param"),
    [("size=512x512", "size"), ("pictures=0", "pictures"), ("prompt_tokens=32001", "prompt_tokens"), ("x=1", "x")],
)
def test_the_calculator_names_what_it_does_not_accept(pages: httpx.Client, query: str, param: str) -> None:
    answer = pages.get(f"/docs/models/MAI-Image-2.5/cost?{query}")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


def test_every_code_has_its_text() -> None:
    assert error_codes().keys() == error_texts().keys()


def test_an_error_page_says_what_its_classes_say(pages: httpx.Client) -> None:
    for code, found in error_codes().items():
        page, twin = text_of(pages.get(f"/docs/errors/{code}").text), pages.get(f"/docs/errors/{code}.md").text
        for text in (page, twin):
            for error, meaning in found:
                assert str(error.status) in text
                assert error.type in text
                # The twin has the meaning as Markdown, whose marks the page does not show.
                assert meaning.replace("`", "") in text.replace("`", "")
        (example,) = re.findall(r"```json\n(.*?)\n```", twin, re.DOTALL)
        assert json.loads(example)["error"]["code"] == code


def test_twins_are_found_by_name_and_by_what_is_accepted(pages: httpx.Client) -> None:
    for path in paths(pages)[1:]:
        named = pages.get(f"{path}.md")
        assert named.headers["content-type"] == "text/markdown; charset=utf-8"
        accepted = pages.get(path, headers={"accept": "text/markdown, text/plain;q=0.5"})
        assert accepted.text == named.text
        assert "accept" in accepted.headers["vary"]
        assert named.text.startswith("# ")
        link = pages.get(path).headers["link"]
        assert link == f'<{link[1 : link.index(">")]}>; rel="alternate"; type="text/markdown"'
        assert httpx.URL(f"http://host{path}").join(link[1 : link.index(">")]).path == f"{path}.md"


def test_lists_for_language_models_name_every_page(pages: httpx.Client, gateway: Gateway) -> None:
    short, full = pages.get("/llms.txt").text, pages.get("/llms-full.txt").text
    for model in MODELS:
        assert f"{gateway.url}/docs/models/{model.id}.md" in short
        assert f"# {model.name}" in full
    for name in GUIDE:
        assert f"{gateway.url}/docs/{name}.md" in short


def test_names_in_other_letters_lead_to_the_page(pages: httpx.Client) -> None:
    for name, target in (
        ("/docs/models/mai-image-2.5", "/docs/models/MAI-Image-2.5"),
        ("/docs/models/MAI-Image-2.5/", "/docs/models/MAI-Image-2.5"),
        ("/docs/models/mai-IMAGE-2.5.md", "/docs/models/MAI-Image-2.5.md"),
        ("/docs/models/MAI%2DImage-2.5", None),
    ):
        answer = pages.get(name, follow_redirects=True)
        assert answer.status_code == 200
        assert answer.url.path == (target or "/docs/models/MAI-Image-2.5")


def test_a_page_that_is_not_there_says_so(pages: httpx.Client) -> None:
    answer = pages.get("/docs/models/nothing/here")
    assert answer.status_code == 404
    assert "There is no such page" in answer.text
    for file in Tags(answer.text).files:
        joined = httpx.URL("http://host/docs/models/nothing/here").join(file)
        assert pages.get(joined.path).status_code == 200
    deep = pages.get("/docs" + "/x" * 10_000)
    assert (deep.status_code, deep.headers["content-type"]) == (404, "application/json")
    for path in ("/docs/../etc/passwd", "/static/../app.css", "/static/%2e%2e/errors.toml", "/docs/%00"):
        assert pages.get(path).status_code == 404


def test_a_page_that_has_not_changed_is_not_sent_again(pages: httpx.Client) -> None:
    first = pages.get("/docs/quickstart")
    again = pages.get("/docs/quickstart", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert pages.head("/docs/quickstart").headers["content-type"] == first.headers["content-type"]


def test_the_name_of_the_server_is_taken_from_the_request_only_when_it_is_one(pages: httpx.Client) -> None:
    good = pages.get("/docs/quickstart.md", headers={"host": "images.example.org:8443"}).text
    assert "http://images.example.org:8443/api/v1/images/generations" in good
    bad = pages.get("/docs/quickstart.md", headers={"host": 'x"><script>alert(1)</script>'}).text
    assert "<script>" not in bad


def test_pages_work_behind_a_proxy_that_puts_them_below_a_path(tmp_path: Path) -> None:
    address = "https://example.org/omixa"
    with running_gateway(tmp_path, public_url=address) as gateway, gateway.client(None) as client:
        for prefix in ("", "/omixa"):
            # A proxy takes its path off, or leaves it on.
            page = client.get(f"{prefix}/docs/models/{MODELS[0].id}")
            assert page.status_code == 200
            assert f"{address}/api/v1/images/generations" in text_of(page.text)
            tags = Tags(page.text)
            for target in (*tags.files, *tags.links):
                joined = httpx.URL(f"https://example.org/omixa/docs/models/{MODELS[0].id}").join(target)
                assert joined.path.startswith("/omixa/"), target
                found = joined.path.removeprefix("/omixa") if not prefix else joined.path
                assert client.get(found, follow_redirects=True).status_code == 200
        assert client.get("/omixa/healthz").status_code == 200
        with gateway.client(gateway.key("test")) as caller:
            for _ in range(2):
                body = {"model": "omixa-illustrator-1", "prompt": "a lamp", "response_format": "url"}
                made = caller.post("/omixa/api/v1/images/generations", json=body).json()
                link = made["data"][0]["url"]
                assert link.startswith(f"{address}/results/")
                for prefix in ("", "/omixa"):
                    assert client.get(prefix + link.removeprefix(address)).status_code == 200
            for prefix in ("", "/omixa"):
                page = caller.get(f"{prefix}/api/v1/usage/requests?limit=1")
                assert page.headers["link"].startswith("</omixa/api/v1/usage/requests?")
                model = caller.get(f"{prefix}/api/v1/models/omixa-illustrator-1").json()
                assert model["schema_url"] == "/omixa/api/v1/models/omixa-illustrator-1/schema"
        assert client.get("/omixad/healthz").status_code == 404


HOSTILE = (
    "</script><img src=x onerror=alert(1)> `tick` | [x](javascript:alert(1)) ![p](http://evil.example/p.png) "
    "\u202e # {{ 7*7 }}"
)


def test_hostile_text_of_a_catalogue_is_shown_and_does_nothing(tmp_path: Path) -> None:
    catalogue = copy_catalogue(tmp_path / "catalogue")
    file = catalogue / "models" / "mai-image-2.5.toml"
    text = file.read_text(encoding="utf-8")
    long = HOSTILE + "A" * 10_000
    text = re.sub(
        r'^(name|summary) = ".*"$', lambda match: f"{match[1]} = {json.dumps(long)}", text, count=2, flags=re.MULTILINE
    )
    text = re.sub(r'^prompt = ".*"$', lambda _: f"prompt = {json.dumps(HOSTILE)}", text, count=1, flags=re.MULTILINE)
    text = re.sub(
        r'(description = """\n)(.*?)(""")',
        lambda match: match[1] + json.dumps(HOSTILE)[1:-1] + "\n\n" + match[2] + match[3],
        text,
        flags=re.DOTALL,
    )
    text = text.replace('natural"]', 'natural", ' + json.dumps(HOSTILE) + "]")
    file.write_text(text, encoding="utf-8")
    with running_gateway(tmp_path / "data", catalogue_dir=str(catalogue)) as gateway, gateway.client(None) as client:
        for path in ("/", "/docs", "/docs/models", "/docs/models/MAI-Image-2.5", "/docs/limits", "/docs/quickstart"):
            page = client.get(path)
            assert page.status_code == 200, page.text[:200]
            tags = Tags(page.text)
            assert not tags.forbidden
            assert not [file for file in tags.files if re.match("[a-z]+:", file)], path
            assert not [link for link in tags.links if re.match("(?!http:)[a-z]+:", link)], path
        shown = text_of(client.get("/docs/models/MAI-Image-2.5").text)
        assert shown.count("</script><img src=x onerror=alert(1)>") > 10
        assert "49" not in shown.partition("{{ 7*7 }}")[0][-5:]
        twin = client.get("/docs/models/MAI-Image-2.5.md")
        assert twin.headers["content-type"] == "text/markdown; charset=utf-8"
        assert twin.headers["x-content-type-options"] == "nosniff"
        assert client.get("/llms.txt").status_code == 200


def test_a_model_without_a_price_has_a_page_that_says_so(tmp_path: Path) -> None:
    catalogue = copy_catalogue(tmp_path / "catalogue")
    file = catalogue / "models" / "mai-image-2.5.toml"
    text = file.read_text(encoding="utf-8")
    file.write_text(text[: text.index("[[prices]]")] + text[text.index("[parameters.model]") :], encoding="utf-8")
    with running_gateway(tmp_path / "data", catalogue_dir=str(catalogue)) as gateway, gateway.client(None) as client:
        page = client.get("/docs/models/MAI-Image-2.5").text
        assert "Not for sale yet" in page
        assert client.get("/docs/models/MAI-Image-2.5/cost").json()["error"]["code"] == "price_missing"
        for path in (
            "/",
            "/docs",
            "/docs/models",
            "/docs/models.md",
            "/docs/billing",
            "/llms.txt",
            "/docs/models/MAI-Image-2.5.md",
        ):
            assert client.get(path).status_code == 200


def test_search_leads_to_fields_headers_and_commands(pages: httpx.Client) -> None:
    index = {entry["path"]: f" {entry['words']} " for entry in pages.get("/docs/search.json").json()}
    assert " output_compression " in index["docs/models/MAI-Image-2.5"]
    assert " omixa-max-cost " in index["docs/billing"]
    assert " x-should-retry " in index["docs/retries"]


def test_a_model_page_tells_how_its_routes_did(tmp_path: Path, foundry: Simulator) -> None:
    def routes(client: httpx.Client) -> list[dict[str, object]]:
        return list(client.get("/docs/models/MAI-Image-2.5/health").json()["routes"])

    with running_gateway(tmp_path / "simulated") as gateway, gateway.client(None) as client:
        # What answers test keys fails on demand, so it is no news.
        assert routes(client) == []
    nothing = {"answered": None, "p50": None, "p95": None}
    with running_gateway(tmp_path / "quiet", foundry) as gateway, gateway.client(None) as client:
        assert routes(client) == [{"keys": ["live"], "count": 1, "state": "quiet"} | nothing]
    with running_gateway(tmp_path / "busy", foundry) as gateway, gateway.client(gateway.key("live")) as client:
        gateway.grant(10_000_000)
        answers = [
            client.post("/api/v1/images/generations", json={"model": "MAI-Image-2.5", "prompt": prompt}).status_code
            for prompt in ("a lamp", "sim:filter a lamp", "a red lamp", "sim:500x9 a lamp")
        ]
        assert [status == 200 for status in answers] == [True, False, True, False]
        (told,) = routes(client)
        calls = [
            step
            for entry in client.get("/api/v1/usage/requests").json()["data"]
            for step in client.get(f"/api/v1/requests/{entry['id']}").json()["attempts"]
        ]
        # A refusal is an answer.
        assert told["answered"] == format_percent(3, len(calls))
        assert told["state"] == ("warn" if len(calls) <= 6 else "bad")
        assert told["p50"] is not None
        # What has happened since is told at most ten seconds later: readers cost one look in that time.
        client.post("/api/v1/images/generations", json={"model": "MAI-Image-2.5", "prompt": "a blue lamp"})
        (again,) = routes(client)
        assert again == told or again["answered"] == format_percent(4, len(calls) + 1)
        assert client.get("/docs/models/nothing/health").status_code == 404


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.id)
def test_accepted_values_are_told_as_the_schema_has_them(pages: httpx.Client, model: Model) -> None:
    twin = pages.get(f"/docs/models/{model.id}.md").text
    for parameter in model.parameters:
        (row,) = re.findall(rf"^\| `{parameter.name}` \|(.*)\|$", twin, re.MULTILINE)
        _, required, accepted, _ = (cell.strip() for cell in row.split(" | ", 3))
        assert required == ("Required" if parameter.required else "Optional")
        if parameter.refusal is not None:
            assert accepted == "not available"
            continue
        if parameter.default not in (None, "") and parameter.minimum is None:
            default = json.dumps(parameter.default).strip('"')
            assert accepted.endswith(f"; default `{default}`"), parameter.name
        if parameter.type == "integer" and not parameter.accepted:
            numbers = [int(number) for number in re.findall(r"\d+", accepted.partition(";")[0])]
            assert {numbers[0], numbers[-1]} == {parameter.minimum, parameter.maximum}
