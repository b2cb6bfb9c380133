"""A real mail server on loopback, with the protection that a test asks for."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from email.policy import default
from pathlib import Path
from typing import Any, Literal

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

from omixa.domain.access import Secret
from omixa.mail import Mailer
from tests.support.servers import LoopThread

USER, PASSWORD = "omixa", "a password"
SENDER = "billing@omixa.example"


@dataclass
class Mailbox:
    """What has arrived, and how many times the server refuses before it takes something."""

    port: int = 0
    messages: list[Message] = field(default_factory=list)
    refusals: int = 0

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name
        if not session.authenticated:
            return "530 log in first"
        if self.refusals:
            self.refusals -= 1
            return "451 try again later"
        self.messages.append(message_from_bytes(envelope.content, policy=default))
        return "250 OK"

    def mailer(self, tls: Literal["starttls", "tls", "none"] = "none", password: str = PASSWORD) -> Mailer:
        return Mailer("localhost", self.port, USER, Secret(password), SENDER, tls)


def certificate(directory: Path) -> tuple[Path, Path]:
    """Make a certificate of localhost that signs itself."""
    key, cert = directory / "key.pem", directory / "cert.pem"
    command = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=localhost")
    extension = ("-addext", "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert))
    subprocess.run([*command, *extension], check=True, capture_output=True)
    return key, cert


@contextlib.contextmanager
def running_mailbox(
    tls: Literal["starttls", "tls", "none"] = "none", files: tuple[Path, Path] | None = None
) -> Iterator[Mailbox]:
    """Run a mail server that wants a login."""
    mailbox = Mailbox()
    context = None
    if files is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files[1], files[0])

    def authenticator(server: Any, session: Any, envelope: Any, mechanism: str, given: object) -> AuthResult:
        right = LoginPassword(USER.encode(), PASSWORD.encode())
        return AuthResult(success=given == right, handled=False)

    def smtp() -> SMTP:
        return SMTP(
            mailbox,
            hostname="localhost",
            authenticator=authenticator,
            auth_require_tls=False,
            tls_context=context if tls == "starttls" else None,
            require_starttls=tls == "starttls",
            loop=asyncio.get_running_loop(),
        )

    async def serve(thread: LoopThread) -> None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(smtp, "127.0.0.1", 0, ssl=context if tls == "tls" else None)
        mailbox.port = server.sockets[0].getsockname()[1]
        thread.ready()
        await thread.stopped()
        server.close()

    with LoopThread(serve):
        yield mailbox
