"""E-mail over SMTP, for alerts."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import formatdate
from typing import Literal

from omixa.domain.access import Secret

TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Mailer:
    """A way to send e-mail. `tls` is how the connection is protected; certificates are verified."""

    host: str
    port: int
    user: str
    password: Secret | None
    sender: str
    tls: Literal["starttls", "tls", "none"]

    async def send(self, *, to: str, subject: str, text: str, message_id: str) -> None:
        """Send a message; the same `message_id` lets a reader tell a repeated one. Raises OSError when it was not taken."""
        message = EmailMessage()
        message["From"] = self.sender
        message["To"] = to
        message["Subject"] = subject
        message["Date"] = formatdate(usegmt=True)
        message["Message-ID"] = f"<{message_id}@omixa>"
        message.set_content(text)
        await asyncio.to_thread(self._send, message)

    def _send(self, message: EmailMessage) -> None:
        context = ssl.create_default_context()
        if self.tls == "tls":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(self.host, self.port, timeout=TIMEOUT_S, context=context)
        else:
            connection = smtplib.SMTP(self.host, self.port, timeout=TIMEOUT_S)
        with connection:
            if self.tls == "starttls":
                connection.starttls(context=context)
            if self.user and self.password is not None:
                connection.login(self.user, self.password.reveal())
            connection.send_message(message)
