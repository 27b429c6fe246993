"""How do tasks send mail?"""

from __future__ import annotations

import mimetypes
import smtplib
import ssl
from collections.abc import Iterable, Mapping
from contextlib import suppress
from email.message import EmailMessage
from email.utils import formatdate, make_msgid
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from orchestrator.sdk.connections import Connection
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.hooks.base import BaseHook
from orchestrator.sdk.masking import mask

__all__ = ["SmtpHook", "build_message"]

TIMEOUT_S = 30.0


class SmtpHook(BaseHook):
    """Sends mail by the server of a Connection: TLS from the start (port 465), or with
    `disable_ssl` in its extra STARTTLS (port 587), or with `disable_tls` too none (port 25). Other
    extra: `from_email`, `timeout` in seconds, `retry_limit` (5).
    """

    conn_name_attr: ClassVar[str] = "smtp_conn_id"
    default_conn_name: ClassVar[str] = "smtp_default"
    conn_type: ClassVar[str] = "smtp"
    hook_name: ClassVar[str] = "SMTP"

    def __init__(
        self, smtp_conn_id: str = default_conn_name, *, connection: Connection | None = None
    ) -> None:
        self.smtp_conn_id = smtp_conn_id
        self._given = connection
        self._client: smtplib.SMTP | None = None

    def __enter__(self) -> Self:
        self._client = self.get_conn()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(smtplib.SMTPException, OSError):
                client.quit()
            client.close()

    @cached_property
    def connection(self) -> Connection:
        """The Connection, secrets included."""
        return self._given or self.get_connection(self.smtp_conn_id)

    @property
    def from_email(self) -> str | None:
        """Who mails come from unless they say so: the extra's from_email, else the login."""
        found: str | None = self._extra.get("from_email") or self.connection.login
        return found

    def get_conn(self) -> smtplib.SMTP:
        """Return an open session, logged in; a server that is away is tried again."""
        tries = max(1, int(self._extra.get("retry_limit", 5)))
        for left in reversed(range(tries)):
            try:
                return self._open()
            except smtplib.SMTPServerDisconnected:
                if not left:
                    raise
        raise AssertionError("there is at least one try")

    def send_email_smtp(
        self,
        *,
        to: str | Iterable[str],
        subject: str,
        html_content: str,
        from_email: str | None = None,
        **parts: Any,
    ) -> None:
        """Send a mail; the other arguments are `build_message`'s."""
        sender = from_email or self.from_email
        if not sender:
            raise TaskException(
                f"a mail needs a sender: give from_email, or put one into the extra of Connection "
                f"{self.smtp_conn_id!r}"
            )
        message = build_message(
            to=to, subject=subject, html_content=html_content, from_email=sender, **parts
        )
        # Blind copies are for the envelope only.
        recipients = [*addresses(to), *addresses(parts.get("cc")), *addresses(parts.get("bcc"))]
        if self._client is not None:
            self._client.send_message(message, from_addr=sender, to_addrs=recipients)
            return
        with self.get_conn() as client:
            client.send_message(message, from_addr=sender, to_addrs=recipients)

    def test_connection(self) -> tuple[bool, str]:
        """Log in and say nothing."""
        try:
            with self.get_conn() as client:
                code, said = client.noop()
        except (OSError, smtplib.SMTPException, TaskException) as error:
            return False, mask(f"{type(error).__name__}: {error}")
        return code == 250, f"the server answers {code} {said.decode(errors='replace')}"

    @property
    def _extra(self) -> dict[str, Any]:
        return self.connection.extra_dejson

    def _open(self) -> smtplib.SMTP:
        found, extra = self.connection, self._extra
        timeout_s = float(extra.get("timeout", TIMEOUT_S))
        host = found.host or "localhost"
        if not _is_true(extra.get("disable_ssl")):
            context = ssl.create_default_context()
            client: smtplib.SMTP = smtplib.SMTP_SSL(
                host, found.port or 465, timeout=timeout_s, context=context
            )
        elif _is_true(extra.get("disable_tls")):
            client = smtplib.SMTP(host, found.port or 25, timeout=timeout_s)
        else:
            client = smtplib.SMTP(host, found.port or 587, timeout=timeout_s)
        try:
            if not isinstance(client, smtplib.SMTP_SSL) and not _is_true(extra.get("disable_tls")):
                client.starttls(context=ssl.create_default_context())
            if found.login and found.password:
                client.login(found.login, found.password)
        except BaseException:
            client.close()
            raise
        return client


def build_message(
    *,
    to: str | Iterable[str],
    subject: str,
    html_content: str,
    from_email: str,
    files: Iterable[str] | None = None,
    cc: str | Iterable[str] | None = None,
    bcc: str | Iterable[str] | None = None,  # noqa: ARG001 - a blind copy is in no header
    mime_subtype: str = "mixed",
    mime_charset: str = "utf-8",
    custom_headers: Mapping[str, Any] | None = None,
) -> EmailMessage:
    """Return a mail; a line break in a header is refused, as somebody could add headers by it."""
    message = EmailMessage()
    headers = {
        "Subject": subject,
        "From": from_email,
        "To": ", ".join(addresses(to)),
        "Cc": ", ".join(addresses(cc)),
        "Date": formatdate(localtime=True),
        "Message-ID": make_msgid(),
        **(custom_headers or {}),
    }
    for name, value in headers.items():
        if value:
            try:
                message[name] = str(value)
            except ValueError as error:
                raise TaskException(f"the mail's {name} {str(value)[:60]!r}: {error}") from None
    if not addresses(to):
        raise TaskException("a mail needs at least one recipient in `to`")
    message.set_content(html_content, subtype="html", charset=mime_charset)
    for path in (Path(name) for name in files or ()):
        kind, _ = mimetypes.guess_type(path.name)
        maintype, _, subtype = (kind or "application/octet-stream").partition("/")
        message.add_attachment(
            path.read_bytes(), maintype=maintype, subtype=subtype, filename=path.name
        )
    if message.is_multipart():
        message.set_type(f"multipart/{mime_subtype}")
    return message


def addresses(written: str | Iterable[str] | None) -> list[str]:
    """Return the addresses of a text, separated by commas or semicolons, or of a list."""
    if written is None:
        return []
    texts = [written] if isinstance(written, str) else list(written)
    pieces = (piece for text in texts for piece in text.replace(";", ",").split(","))
    return [piece.strip() for piece in pieces if piece.strip()]


def _is_true(value: object) -> bool:
    """A flag of an extra that may have come by a URI, as a text."""
    return value.strip().lower() in ("1", "true", "yes") if isinstance(value, str) else bool(value)
