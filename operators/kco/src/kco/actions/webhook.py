"""webhook: tell another system, with retries that it can recognise and without leaking what it need not know."""

import asyncio
import ssl
from typing import Any, ClassVar, Literal

import orjson
from pydantic import Field, field_validator, model_validator

from kco.actions.handler import FAILED, SUCCEEDED, ActionHandler, Context, Parameters, Result
from kco.actions.template import fill, fill_text
from kco.events.wording import mask
from kco.net.guard import Refused, Unresolvable
from kco.net.pool import ExchangeFailed
from kco.net.tls import InvalidCertificate, TlsSettings
from kco.net.url import InvalidUrl, parse_url
from kco.spec.path import parse_path
from kco.spec.targetapp import Header, ValueSource
from kco.targets.credentials import MissingValue
from operator_kit.clock import to_rfc3339

ANSWER_LIMIT = 64 * 1024
SHOWN = 200


class WebhookParameters(Parameters):
    """`url` or `urlFrom`; `headers` as a map of strings, or as a list with `valueFrom`."""

    url: str | None = Field(default=None, max_length=4096)
    url_from: ValueSource | None = None
    method: Literal["POST", "PUT", "PATCH", "GET", "DELETE"] = "POST"
    headers: list[Header] = Field(default_factory=list, max_length=50)
    payload: Any = None
    include_state: bool = False
    timeout: float = Field(default=30, ge=0.1, le=300)
    attempts: int = Field(default=3, ge=1, le=10)
    verify_ssl: bool = Field(default=True, alias="verifySSL")
    ca_from: ValueSource | None = None

    @field_validator("headers", mode="before")
    @classmethod
    def _map_of_headers(cls, given: Any) -> Any:
        if isinstance(given, dict):
            return [{"name": str(name), "value": value} for name, value in given.items()]
        return given

    @model_validator(mode="after")
    def _one_url(self) -> "WebhookParameters":
        if (self.url is None) == (self.url_from is None):
            raise ValueError("give exactly one of url and urlFrom")
        if self.url is not None:
            try:
                parse_url(self.url)
            except InvalidUrl as failure:
                raise ValueError(str(failure)) from None
        return self


class Webhook(ActionHandler):
    name: ClassVar[str] = "webhook"
    parameters: ClassVar[type[Parameters]] = WebhookParameters

    async def execute(self, context: Context) -> Result:
        parameters: WebhookParameters = context.parameters
        try:
            url = parameters.url or await context.credentials.value(
                context.namespace, parameters.url_from or ValueSource()
            )
            address = parse_url(url.strip())
            headers = await self._headers(context)
            ca = (
                await context.credentials.value(context.namespace, parameters.ca_from)
                if parameters.ca_from
                else None
            )
        except (MissingValue, InvalidUrl) as failure:
            return Result(FAILED, str(failure), retryable=False)
        body = orjson.dumps(self._body(context)) if parameters.method not in ("GET", "DELETE") else b""
        tls = TlsSettings(ca=ca, insecure=not parameters.verify_ssl)
        said = ""
        for attempt in range(1, parameters.attempts + 1):
            try:
                async with asyncio.timeout(parameters.timeout):
                    answer = await context.pool.exchange(
                        parameters.method, address, headers=headers, body=body, limit=ANSWER_LIMIT, tls=tls
                    )
            except (Refused, InvalidCertificate, ssl.SSLCertVerificationError) as failure:
                return Result(FAILED, f"webhook to {address.host}: {failure}", retryable=False)
            except TimeoutError:
                said = f"no answer within {parameters.timeout:g} s"
            except (ExchangeFailed, Unresolvable, OSError) as failure:
                said = str(failure)
            else:
                if 200 <= answer.status < 300:
                    output = {"status": answer.status, "attempts": attempt}
                    return Result(SUCCEEDED, f"webhook to {address.host}: HTTP {answer.status}", output)
                text = answer.body[:SHOWN].decode("utf-8", "replace")
                said = f"HTTP {answer.status} {text}".strip()
                if answer.status < 500 and answer.status not in (408, 425, 429):
                    return Result(
                        FAILED, f"webhook to {address.host}: {said}", {"status": answer.status}, False
                    )
            if attempt < parameters.attempts:
                await context.clock.sleep(min(0.5 * 2**attempt, 30.0))
        # Its own retries are used up; the rule's policy must not multiply them.
        return Result(
            FAILED, f"webhook to {address.host}: {said} ({parameters.attempts} attempts)", retryable=False
        )

    async def _headers(self, context: Context) -> dict[str, str]:
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "kco",
            # The same for every attempt of this run, so that a receiver can drop what it has had.
            "Idempotency-Key": context.run,
        }
        words = _words(context)
        for header in context.parameters.headers:
            if header.value_from is not None:
                text = await context.credentials.value(context.namespace, header.value_from)
            else:
                text = fill_text(header.value or "", context.state, words)
            headers[header.name] = " ".join(text.split()) if any(c in text for c in "\r\n\0") else text
        return headers

    def _body(self, context: Context) -> Any:
        parameters: WebhookParameters = context.parameters
        hidden = [parse_path(text) for text in context.spec.events.redact]
        state = mask(context.state, (), hidden)
        words = _words(context)
        envelope: dict[str, Any] = {
            "tapp": context.target,
            "namespace": context.namespace,
            "rule": context.rule,
            "run": context.run,
            "timestamp": words["timestamp"],
            "changes": [dict(change) for change in context.changes],
        }
        if context.pod:
            envelope["pod"] = context.pod
        if parameters.include_state:
            envelope["state"] = state
        filled = fill(parameters.payload, state, words)
        if isinstance(filled, dict):
            return {**envelope, **filled}
        return envelope if filled is None else filled


def _words(context: Context) -> dict[str, str]:
    return {
        "tapp_name": context.target,
        "namespace": context.namespace,
        "timestamp": to_rfc3339(context.clock.now()),
        "rule": context.rule,
        "run": context.run,
        "pod": context.pod,
    }
