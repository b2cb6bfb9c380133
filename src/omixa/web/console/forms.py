"""What a form of a page sends, read within bounds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import parse_qsl

from omixa.api.exchange import Exchange
from omixa.domain.money import parse_usd
from omixa.errors import InvalidRequest
from omixa.services import Services

MAX_BYTES = 64 * 1024
MAX_FIELDS = 200
_TYPE = "application/x-www-form-urlencoded"


class Form:
    """The fields of a form. A field that is not there is empty: a browser leaves out boxes that are not ticked."""

    def __init__(self, fields: Mapping[str, Sequence[str]]) -> None:
        self._fields = fields

    def text(self, name: str) -> str:
        """Return what was written into a field, without blanks around it."""
        return self.exact(name).strip()

    def exact(self, name: str) -> str:
        """Return what was written into a field."""
        values = self._fields.get(name, ())
        return values[0] if values else ""

    def all(self, name: str) -> list[str]:
        """Return every value of a field."""
        return list(self._fields.get(name, ()))

    def usd(self, name: str) -> int | None:
        """Return an amount in micro-USD, None where nothing was written. Raises InvalidRequest for what is no amount."""
        text = self.text(name).removeprefix("$")
        try:
            return parse_usd(text) if text else None
        except ValueError as error:
            raise InvalidRequest(str(error), param=name) from error


EMPTY = Form({})


async def read_form(exchange: Exchange, services: Services) -> Form:
    """Return the form in a body. Raises what reading a body can raise, or InvalidRequest for one that is no form."""
    exchange.require_media_type(_TYPE)
    with services.body_bytes.lease() as lease:
        body = await exchange.read_body(limit=MAX_BYTES, timeout_s=services.settings.body_timeout_s, lease=lease)
        try:
            pairs = parse_qsl(
                body.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=MAX_FIELDS, errors="replace"
            )
        except ValueError as error:
            raise InvalidRequest(f"A form has at most {MAX_FIELDS} fields.", code="invalid_form") from error
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        # No database keeps this character, and no keyboard makes it.
        fields.setdefault(name, []).append(value.replace("\0", ""))
    return Form(fields)
