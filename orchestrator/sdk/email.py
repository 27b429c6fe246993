"""Tasks and notifiers that send mail."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.sdk.hooks.smtp import SmtpHook
from orchestrator.sdk.notifiers import BaseNotifier
from orchestrator.sdk.operators import BaseOperator

if TYPE_CHECKING:
    from orchestrator.sdk.context import Context

__all__ = ["EmailOperator", "SmtpNotifier"]

_BODY = (
    "<p>DAG <b>{{ dag.dag_id | e }}</b>, run {{ run_id | e }}"
    "{% if ti is defined and ti %}, task {{ ti.task_id | e }}, try {{ ti.try_number }}{% endif %}"
    "</p>"
    "{% if exception is defined and exception %}<pre>{{ exception | e }}</pre>"
    "{% elif reason is defined and reason %}<pre>{{ reason | e }}</pre>{% endif %}"
)


class EmailOperator(BaseOperator):
    """Sends a mail by an SMTP Connection. Addresses are a text, separated by commas, or a list;
    `files` are attached."""

    template_fields: Sequence[str] = (
        *("to", "mail_subject", "html_content", "from_email", "files"),
        *("cc", "bcc", "custom_headers", "conn_id"),
    )
    template_ext: Sequence[str] = (".html",)

    def __init__(
        self,
        *,
        to: str | Iterable[str],
        subject: str,
        html_content: str,
        from_email: str | None = None,
        files: Iterable[str] | None = None,
        cc: str | Iterable[str] | None = None,
        bcc: str | Iterable[str] | None = None,
        mime_subtype: str = "mixed",
        mime_charset: str = "utf-8",
        conn_id: str = SmtpHook.default_conn_name,
        custom_headers: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.to = to
        self.mail_subject = subject  # `subject` is what errors about the task are about
        self.html_content = html_content
        self.from_email = from_email
        self.files = files
        self.cc = cc
        self.bcc = bcc
        self.mime_subtype = mime_subtype
        self.mime_charset = mime_charset
        self.conn_id = conn_id
        self.custom_headers = custom_headers

    def execute(self, context: Context) -> None:  # noqa: ARG002
        """Send it."""
        SmtpHook(self.conn_id).send_email_smtp(
            to=self.to,
            subject=self.mail_subject,
            html_content=self.html_content,
            from_email=self.from_email,
            files=self.files,
            cc=self.cc,
            bcc=self.bcc,
            mime_subtype=self.mime_subtype,
            mime_charset=self.mime_charset,
            custom_headers=self.custom_headers,
        )


class SmtpNotifier(BaseNotifier):
    """Sends a mail from a callback: `on_failure_callback=SmtpNotifier(to="ops@example.org")`."""

    template_fields: Sequence[str] = (
        *("from_email", "to", "subject", "html_content", "files", "cc", "bcc"),
        *("custom_headers", "smtp_conn_id"),
    )
    template_ext: Sequence[str] = (".html",)

    def __init__(
        self,
        *,
        to: str | Iterable[str],
        from_email: str | None = None,
        subject: str = "DAG {{ dag.dag_id }}, run {{ run_id }}",
        html_content: str = _BODY,
        files: Iterable[str] | None = None,
        cc: str | Iterable[str] | None = None,
        bcc: str | Iterable[str] | None = None,
        mime_subtype: str = "mixed",
        mime_charset: str = "utf-8",
        custom_headers: Mapping[str, Any] | None = None,
        smtp_conn_id: str = SmtpHook.default_conn_name,
    ) -> None:
        super().__init__()
        self.to = to
        self.from_email = from_email
        self.subject = subject
        self.html_content = html_content
        self.files = files
        self.cc = cc
        self.bcc = bcc
        self.mime_subtype = mime_subtype
        self.mime_charset = mime_charset
        self.custom_headers = custom_headers
        self.smtp_conn_id = smtp_conn_id

    def notify(self, context: Context) -> None:  # noqa: ARG002
        """Send it."""
        SmtpHook(self.smtp_conn_id).send_email_smtp(
            to=self.to,
            subject=self.subject,
            html_content=self.html_content,
            from_email=self.from_email,
            files=self.files,
            cc=self.cc,
            bcc=self.bcc,
            mime_subtype=self.mime_subtype,
            mime_charset=self.mime_charset,
            custom_headers=self.custom_headers,
        )
