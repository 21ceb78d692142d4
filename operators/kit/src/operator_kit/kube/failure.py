"""What the API server answers when it refuses: a `Status` object as an exception."""

from typing import Any


class ApiFailure(Exception):
    """An answer of 400 or above, or no answer at all (`code` 0)."""

    def __init__(
        self, code: int, reason: str, message: str, *, retry_after: float | None = None, request: str = ""
    ) -> None:
        super().__init__(f"{message} ({code} {reason})" if code else f"{message} ({reason})")
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.request = request

    @classmethod
    def from_answer(cls, code: int, body: Any, *, retry_after: float | None, request: str) -> "ApiFailure":
        if isinstance(body, dict):
            details = body.get("details") or {}
            wait = details.get("retryAfterSeconds") if isinstance(details, dict) else None
            return cls(
                code,
                str(body.get("reason") or "Unknown"),
                str(body.get("message") or f"{request} failed"),
                retry_after=retry_after if retry_after is not None else wait,
                request=request,
            )
        return cls(code, "Unknown", f"{request}: {str(body)[:200]}", retry_after=retry_after, request=request)

    @property
    def not_found(self) -> bool:
        return self.code == 404

    @property
    def already_exists(self) -> bool:
        return self.code == 409 and self.reason == "AlreadyExists"

    @property
    def conflict(self) -> bool:
        return self.code == 409 and self.reason != "AlreadyExists"

    @property
    def forbidden(self) -> bool:
        return self.code == 403

    @property
    def gone(self) -> bool:
        return self.code == 410 or self.reason == "Expired"

    @property
    def transient(self) -> bool:
        """Whether the same request may succeed later without anybody changing anything."""
        return self.code in (0, 401, 429, 500, 502, 503, 504)
