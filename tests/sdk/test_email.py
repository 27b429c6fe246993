"""Mail, sent to a real SMTP server of this process."""

import base64
import socketserver
import threading
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from orchestrator.core.outcomes import Failed, Outcome, Succeeded
from orchestrator.sdk import DAG, Connection, EmailOperator, PythonOperator, SmtpHook, SmtpNotifier
from orchestrator.sdk.exceptions import TaskException
from orchestrator.sdk.given_secrets import GivenSecrets
from orchestrator.sdk.hooks.smtp import build_message
from orchestrator.sdk.masking import secret_scope
from orchestrator.sdk.secrets import SecretChain, set_current_secrets
from tests.sdk.tries import try_task


class Mailbox:
    """An SMTP server (RFC 5321, AUTH PLAIN) that keeps what it is sent."""

    def __init__(self, *, password: str | None = None) -> None:
        self.mails: list[tuple[str, list[str], EmailMessage]] = []
        self.hang_ups = 0
        mailbox = self

        class Session(socketserver.StreamRequestHandler):
            def say(self, text: str) -> None:
                self.wfile.write(f"{text}\r\n".encode())

            def handle(self) -> None:
                if mailbox.hang_ups:
                    mailbox.hang_ups -= 1
                    return
                self.say("220 ready")
                sender, recipients = "", []
                while line := self.rfile.readline():
                    words = line.decode().strip()
                    verb = words[:4].upper()
                    if verb == "EHLO":
                        self.say("250-here" if password else "250 here")
                        if password:
                            self.say("250 AUTH PLAIN")
                    elif verb == "AUTH":
                        given = base64.b64decode(words.split()[-1]).decode().split("\0")[-1]
                        self.say("235 welcome" if given == password else "535 no")
                    elif verb == "MAIL":
                        sender = words.partition("<")[2].partition(">")[0]
                        self.say("250 ok")
                    elif verb == "RCPT":
                        recipients.append(words.partition("<")[2].partition(">")[0])
                        self.say("250 ok")
                    elif verb == "DATA":
                        self.say("354 go on")
                        data = b""
                        while (part := self.rfile.readline()) != b".\r\n":
                            data += part.removeprefix(b".") if part.startswith(b"..") else part
                        message = message_from_bytes(data, policy=policy.default)
                        mailbox.mails.append((sender, recipients, message))
                        self.say("250 kept")
                    elif verb == "QUIT":
                        self.say("221 bye")
                        return
                    else:
                        self.say("250 ok")

        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Session)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.port = int(self._server.server_address[1])

    def connection(self, **fields: Any) -> Connection:
        extra = {
            "disable_ssl": True,
            "disable_tls": "true",
            "from_email": "us@example.org",
            "timeout": 20,
            **fields.pop("extra", {}),
        }
        return Connection("smtp_default", "smtp", host="127.0.0.1", port=self.port, extra=extra,
                          **fields)  # fmt: skip

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    with secret_scope():
        yield box
    box.close()


def attempt(connection: Connection, **arguments: Any) -> Outcome:
    with DAG("d") as dag:
        EmailOperator(task_id="t", **arguments)
    given = GivenSecrets(connections={"smtp_default": connection})
    return try_task(dag, "t", secrets=SecretChain([given]))


def test_a_mail_arrives(mailbox: Mailbox, tmp_path: Path) -> None:
    report = tmp_path / "report.csv"
    report.write_text("a,b\n")
    outcome = attempt(
        mailbox.connection(),
        to=["ann@example.org", "bob@example.org, eve@example.org"],
        cc="cc@example.org",
        bcc="bcc@example.org",
        subject="Run of {{ ds }} ☃",
        html_content="<p>\n.\nGrüße {{ ds }}</p>",
        files=[str(report)],
        custom_headers={"X-Team": "data"},
    )
    assert outcome == Succeeded()
    ((sender, recipients, message),) = mailbox.mails
    assert sender == "us@example.org"
    assert recipients == [f"{name}@example.org" for name in ("ann", "bob", "eve", "cc", "bcc")]
    assert message["Subject"] == "Run of 2024-05-06 ☃"
    assert message["To"] == "ann@example.org, bob@example.org, eve@example.org"
    assert (message["Cc"], message["Bcc"], message["X-Team"]) == ("cc@example.org", None, "data")
    body = message.get_body(("html",))
    assert body is not None
    assert body.get_content().split() == ["<p>", ".", "Grüße", "2024-05-06</p>"]
    (attached,) = message.iter_attachments()
    assert (attached.get_filename(), attached.get_content()) == ("report.csv", "a,b\n")


def test_a_wrong_password_fails_without_being_told() -> None:
    box = Mailbox(password="right-1")
    try:
        with secret_scope():
            mail = {"to": "a@b.org", "subject": "s", "html_content": "x"}
            wrong = attempt(box.connection(login="u", password="wrong-1"), **mail)
            assert isinstance(wrong, Failed)
            assert "SMTPAuthenticationError" in wrong.reason
            assert "wrong-1" not in wrong.reason
            assert attempt(box.connection(login="u", password="right-1"), **mail) == Succeeded()
            right = SmtpHook(connection=box.connection(login="u", password="right-1"))
            assert right.test_connection() == (True, "the server answers 250 ok")
    finally:
        box.close()
    assert len(box.mails) == 1


def test_a_server_that_hangs_up_is_tried_again(mailbox: Mailbox) -> None:
    mailbox.hang_ups = 2
    hook = SmtpHook(connection=mailbox.connection(extra={"retry_limit": 3}))
    with hook:
        for number in (1, 2):  # in one session
            hook.send_email_smtp(to="a@b.org", subject=str(number), html_content="x")
    assert [message["Subject"] for _, _, message in mailbox.mails] == ["1", "2"]
    mailbox.hang_ups = 2
    works, said = SmtpHook(
        connection=mailbox.connection(extra={"retry_limit": 1})
    ).test_connection()
    assert not works
    assert said.startswith("SMTPServerDisconnected")


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"to": []}, "a mail needs at least one recipient"),
        ({"subject": "a\nBcc: eve@example.org"}, "the mail's Subject 'a"),
    ],
)
def test_what_is_no_mail(arguments: dict[str, Any], problem: str) -> None:
    mail: dict[str, Any] = {
        "to": "a@b.org", "subject": "s", "html_content": "x", "from_email": "c@d.org",
    }  # fmt: skip
    with pytest.raises(TaskException, match=problem):
        build_message(**{**mail, **arguments})


def test_a_mail_without_a_sender(mailbox: Mailbox) -> None:
    hook = SmtpHook(connection=mailbox.connection(extra={"from_email": None}))
    with pytest.raises(TaskException, match="a mail needs a sender: give from_email, or put one"):
        hook.send_email_smtp(to="a@b.org", subject="s", html_content="x")


def test_a_notifier_tells_of_a_task(mailbox: Mailbox) -> None:
    def tell(**context: Any) -> None:
        SmtpNotifier(to="ops@example.org")(context)  # type: ignore[arg-type]

    with DAG("d") as dag:
        PythonOperator(task_id="t", python_callable=tell)
    given = GivenSecrets(connections={"smtp_default": mailbox.connection()})
    chain = SecretChain([given])
    restore = set_current_secrets(chain)
    try:
        assert try_task(dag, "t", secrets=chain) == Succeeded()
    finally:
        restore()
    ((_, recipients, message),) = mailbox.mails
    assert recipients == ["ops@example.org"]
    assert message["Subject"] == "DAG d, run manual__2024-05-06"
    body = message.get_body(("html",))
    assert body is not None
    assert "<b>d</b>, run manual__2024-05-06, task t, try 1" in body.get_content()
