"""A stand-in for Stability AI's models on AWS Bedrock: as strict as the live service, and it fails on demand.

POST /model/MODEL/invoke     JSON, signed with AWS's signature 4 by a key such as ID:SECRET, or with the key as a bearer token

The signature is checked by its published rules, without AWS's library, so that the two do not share their faults.
"""

from __future__ import annotations

import datetime
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from omixa.domain.scenarios import Step
from omixa.engines.workers import Workers
from omixa.errors import InvalidRequest
from omixa.imaging.inspect import inspect
from omixa.simulator.documents import DocumentService, encoded
from omixa.simulator.rules import TRIGGER
from omixa.simulator.service import STATUSES, Refusal, SimulatorOptions, Wanted, natural_size, read_picture, variant_of
from omixa.simulator.wire import LARGE_JSON_BODY_MAX_BYTES, ServiceError, read_body

SERVICE = "bedrock"
CLOCK_SKEW_S = 300
PROMPT_MAX = 10_000
SEED = 2_130_420_379
MAX_PIXELS = 1_048_576
SIDE_MULTIPLE = 16
SHAPES: Mapping[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "3:2": (1216, 832),
    "2:3": (832, 1216),
    "16:9": (1344, 768),
    "9:16": (768, 1344),
    "21:9": (1536, 640),
    "9:21": (640, 1536),
    "4:5": (896, 1088),
    "5:4": (1088, 896),
}
_WORDS = frozenset({"prompt", "negative_prompt", "mode", "seed", "output_format"})
_EXCEPTIONS: Mapping[int, str] = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
    502: "InternalServerException",
    503: "ServiceUnavailableException",
    504: "InternalServerException",
}
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/,]+)/([0-9]{8})/([a-z0-9-]+)/([a-z0-9-]+)/aws4_request, ?"
    r"SignedHeaders=([a-z0-9;-]+), ?Signature=([0-9a-f]{64})"
)


@dataclass(frozen=True, slots=True)
class _Rules:
    """What a model takes besides words, and whether it makes variations of a picture."""

    varies: bool = False


MODELS: Mapping[str, _Rules] = {
    "stability.stable-image-core-v1:1": _Rules(),
    "stability.stable-image-ultra-v1:1": _Rules(varies=True),
    "stability.sd3-5-large-v1:0": _Rules(varies=True),
}


class BedrockSimulator(DocumentService):
    """The handler of invocations."""

    async def serve(self, request: Request) -> Response:
        """Make a picture at once."""
        try:
            body = await read_body(request, LARGE_JSON_BODY_MAX_BYTES)
        except ServiceError as error:
            raise _problem(400, error.message) from error
        self._authenticate(request, body)
        rules = MODELS.get(request.path_params["model"])
        if rules is None:
            raise _problem(400, "The provided model identifier is invalid.")
        wanted = _wanted(_fields(request, body), rules, variant_of(request))
        entry, step = await self.enter(request, wanted.prompt)
        self._refuse(step, request.url.path)
        named = {"x-amzn-requestid": entry.request_id}
        entry.status = 200
        if step.name == "filter" or TRIGGER.search(wanted.prompt):
            where = "output image" if step.name == "filter" else "prompt"
            return self.answer({"finish_reasons": [f"Filter reason: {where}"]}, step, named)
        try:
            data = await self.make(wanted, step)
        except InvalidRequest as error:
            raise _problem(400, f"image: {error.message}") from error
        document: dict[str, object] = {"seeds": [SEED], "finish_reasons": [None]}
        if step.name != "nodata":
            document["images"] = [] if step.name == "empty" else [encoded(data, step)]
        return self.answer(document, step, named)

    def _authenticate(self, request: Request, body: bytes) -> None:
        given = request.headers.get("authorization", "")
        scheme, _, token = given.partition(" ")
        if scheme.lower() == "bearer":
            if not self.is_key(token.strip()):
                raise _problem(403, "The security token included in the request is invalid.")
            return
        found = _AUTHORIZATION.fullmatch(given)
        identity, _, secret = self._options.api_key.partition(":")
        if found is None or found[1] != identity or found[4] != SERVICE:
            raise _problem(403, "The security token included in the request is invalid.")
        expected = signature(request, body, secret.partition(":")[0], found[3], found[5].split(";"))
        if expected is None or not hmac.compare_digest(expected, found[6]):
            raise _problem(403, "The request signature we calculated does not match the signature you provided.")

    def _refuse(self, step: Step, path: str) -> None:
        self.redirect(step, path)
        if step.name == "quota":
            raise _problem(400, "You have reached the quota of this account.", "ServiceQuotaExceededException")
        if step.name in STATUSES:
            status = STATUSES[step.name]
            headers = {"retry-after": step.retry_after} if step.retry_after not in (None, "none") else {}
            raise _problem(403 if status == 401 else status, "The service refuses.", _EXCEPTIONS[status], headers)


def create_app(options: SimulatorOptions, workers: Workers) -> ASGIApp:
    """Return the simulator as an ASGI application."""
    simulator = BedrockSimulator(options, workers)
    return simulator.app(Route("/model/{model}/invoke", simulator.serve, methods=["POST"]))


# ------------------------------------------------------------------------------------------------------ the signature


def signature(request: Request, body: bytes, secret: str, region: str, signed: list[str]) -> str | None:
    """Return the signature that a request must have, None for one that is too old or leaves out what must be signed.

    Source: AWS's description of signature 4. The path is encoded once more than it was sent.
    """
    stamp = request.headers.get("x-amz-date", "")
    if not _is_current(stamp) or not {"host", "x-amz-date"} <= set(signed):
        return None
    sent = request.scope.get("raw_path", b"").decode("latin-1").partition("?")[0]
    canonical = "\n".join(
        (
            "POST",
            quote(sent, safe="/-_.~"),
            "",
            *(f"{name}:{' '.join(request.headers.get(name, '').split())}" for name in signed),
            "",
            ";".join(signed),
            hashlib.sha256(body).hexdigest(),
        )
    )
    scope = f"{stamp[:8]}/{region}/{SERVICE}/aws4_request"
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, text.encode(), "sha256").hexdigest()


def _is_current(stamp: str) -> bool:
    try:
        signed_at = datetime.datetime.strptime(stamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.UTC)
    except ValueError:
        return False
    return abs((datetime.datetime.now(datetime.UTC) - signed_at).total_seconds()) <= CLOCK_SKEW_S


# -------------------------------------------------------------------------------------------------------- the request


def _fields(request: Request, body: bytes) -> Mapping[str, object]:
    if request.headers.get("content-type") != "application/json":
        raise _problem(400, "The content type must be application/json.")
    try:
        return msgspec.json.decode(body, type=dict[str, object])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _problem(400, "Malformed input request, please reformat your input and try again.") from error


def _wanted(fields: Mapping[str, object], rules: _Rules, variant: int) -> Wanted:
    """Return the picture that is asked for. Raises Refusal 400 that names the field."""
    varying = fields.get("mode", "text-to-image") == "image-to-image"
    known = _WORDS | ({"image", "strength"} if varying and rules.varies else {"aspect_ratio"})
    for name in fields:
        if name not in known:
            raise _problem(400, f"extraneous key [{name}] is not permitted")
    if fields.get("mode", "text-to-image") not in ("text-to-image", *(("image-to-image",) if rules.varies else ())):
        raise _problem(400, "mode: is not supported by this model")
    prompt, wanted = fields.get("prompt"), fields.get("output_format", "png")
    if not isinstance(prompt, str) or not prompt.strip() or len(prompt) > PROMPT_MAX:
        raise _problem(400, f"prompt: must have from 1 to {PROMPT_MAX} characters")
    if wanted not in ("png", "jpeg"):
        raise _problem(400, "output_format: must be png or jpeg")
    if not varying:
        shape = fields.get("aspect_ratio", "1:1")
        if shape not in SHAPES:
            raise _problem(400, f"aspect_ratio: must be one of {', '.join(SHAPES)}")
        return Wanted(prompt, SHAPES[str(shape)], variant, wanted)
    picture, strength = read_picture(fields.get("image")), fields.get("strength")
    if picture is None or not isinstance(strength, float | int) or not 0 <= strength <= 1:
        raise _problem(400, "image: a picture in base64, and strength: from 0 to 1, are required")
    size = natural_size(inspect(picture), MAX_PIXELS, SIDE_MULTIPLE)
    return Wanted(prompt, size, variant, wanted, (picture,))


def _problem(status: int, message: str, name: str = "", headers: Mapping[str, str] | None = None) -> Refusal:
    named = f"{name or _EXCEPTIONS[status]}:http://internal.amazon.com/coral/com.amazon.bedrock/"
    return Refusal(status, {"message": message}, {"x-amzn-errortype": named, **(headers or {})})
