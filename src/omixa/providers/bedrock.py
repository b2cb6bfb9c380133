"""Stability AI's models on AWS Bedrock: JSON in and out, signed by AWS's own library.

Source: Bedrock's pages on the parameters of Stability AI's models. A refusal is a 200 whose `finish_reasons` name a filter.
Credentials are an access key, written ID:SECRET or ID:SECRET:SESSION_TOKEN, or a Bedrock key, which is a bearer token.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final
from urllib.parse import quote

import msgspec
import pybase64

from omixa.domain.images import Image, ImageFormat
from omixa.domain.models import Deployment
from omixa.errors import UpstreamCredentials
from omixa.providers.base import ProviderCall, ProviderResult
from omixa.providers.failures import refused_answer
from omixa.providers.pictures import check_picture, check_shape, native_format, tiles_used
from omixa.providers.single import SingleExchange
from omixa.providers.wire import WireRequest, WireResponse

SERVICE: Final = "bedrock"
DEFAULT_REGION: Final = "us-west-2"

_HOST_OF_REGION = re.compile(r"https://bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.amazonaws\.com")
_FILTER: Final = "filter reason:"
# How far a picture may go from the one that it is made from: 0 is no step, 1 as if there were none.
_STRENGTH: Final = 0.6


class BedrockProvider(SingleExchange):
    """Invokes one model for each picture. A deployment's endpoint is that of a region: https://bedrock-runtime.REGION.amazonaws.com."""

    def write(self, call: ProviderCall, references: Sequence[Image]) -> WireRequest:
        """Return the request, signed where the credential is an access key. Raises UpstreamCredentials."""
        fields: dict[str, object] = {"prompt": call.request.prompt, "output_format": _format(call)}
        if references:
            # The shape is that of the picture.
            fields["image"] = pybase64.b64encode_as_string(references[0].data)
            fields |= {"mode": "image-to-image", "strength": _STRENGTH}
        else:
            fields |= {"mode": "text-to-image", "aspect_ratio": call.offer.sizes[call.request.size].aspect_ratio}
        deployment = call.deployment
        # A colon stays one: it is sent as it was signed, and the transport would write it so.
        url = f"{deployment.endpoint.rstrip('/')}/model/{quote(deployment.deployment_name, safe=':')}/invoke"
        headers = {"content-type": "application/json", "accept": "application/json"}
        request = WireRequest(url, headers, (msgspec.json.encode(fields),))
        if deployment.api_key is None or deployment.is_simulated:
            bearer = {} if call.credential is None else {"authorization": f"Bearer {call.credential}"}
            signed = replace(request, headers={**headers, **bearer})
        else:
            signed = _signed(request, deployment, deployment.api_key.reveal())
        return replace(signed, headers={**signed.headers, **call.simulator_headers})

    def read(self, response: WireResponse, call: ProviderCall) -> ProviderResult:
        """Return the picture of a 200. Raises ValueError when there is none, UpstreamRefused when a filter says so."""
        answer = _ANSWER.decode(response.body)
        reason = next((each for each in answer.finish_reasons or () if each), None)
        if reason is not None and reason.lower().startswith(_FILTER):
            raise refused_answer(response, reason, secret=self.secret(call))
        if reason is not None or not answer.images:
            raise ValueError(f"the answer holds no picture: {reason or 'no reason given'}")
        data = pybase64.b64decode(answer.images[0], validate=True)
        picture = check_picture(data, call, _format(call), exact=False)
        check_shape(picture.info, call)
        return ProviderResult(picture, tiles_used(call, picture.info), response.provider_request_id)

    def secret(self, call: ProviderCall) -> str | None:
        """Return the part of the credential that diagnostics must not repeat: the id of an access key says nothing."""
        _, *secrets = (call.credential or "").split(":")
        return secrets[0] if secrets else call.credential


class _Answer(msgspec.Struct):
    """What is read of an answer."""

    images: list[str] | None = None
    finish_reasons: list[str | None] | None = None


_ANSWER = msgspec.json.Decoder(_Answer)


def _format(call: ProviderCall) -> ImageFormat:
    return native_format(call, ("png", "jpeg"))


def _signed(request: WireRequest, deployment: Deployment, key: str) -> WireRequest:
    """Return a request with AWS's signature, version 4. Raises UpstreamCredentials for a key that is no pair."""
    # Here, because the library is large and an extra.
    from botocore.auth import SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    identity, _, secret = key.partition(":")
    secret, _, session_token = secret.partition(":")
    if not (identity and secret):
        raise UpstreamCredentials(
            "The provider cannot serve this model now.", diagnostics="api_key must be ACCESS_KEY_ID:SECRET_ACCESS_KEY"
        )
    found = _HOST_OF_REGION.match(deployment.endpoint)
    region = found[1] if found else deployment.region or DEFAULT_REGION
    body = b"".join(request.body_parts)
    signing = AWSRequest(method="POST", url=request.url, headers=dict(request.headers), data=body)
    SigV4Auth(Credentials(identity, secret, session_token or None), SERVICE, region).add_auth(signing)
    return replace(request, headers=dict(signing.headers.items()))
