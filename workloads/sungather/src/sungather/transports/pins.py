"""Certificates seen first are trusted from then on: inverters sign their own, so no authority can vouch for them."""

from __future__ import annotations

from collections.abc import Callable

from sungather.transports.transport import CertificateChanged

ANY = "any"


class Pins:
    """Fingerprints by session name. `expected` comes from the config file and wins; "any" switches the check off."""

    def __init__(
        self, known: dict[str, str], *, expected: str = "", remember: Callable[[str, str], None] | None = None
    ) -> None:
        self._known = known
        self._expected = expected.replace(":", "").lower()
        self._remember = remember

    def check(self, name: str, fingerprint: str) -> None:
        """CertificateChanged when the fingerprint (SHA-256, hex) is not the known one."""
        if self._expected == ANY:
            return
        pinned = self._expected or self._known.get(name, "")
        if pinned and pinned != fingerprint:
            raise CertificateChanged(fingerprint, pinned)
        if not self._expected and name not in self._known:
            self._known[name] = fingerprint
            if self._remember:
                self._remember(name, fingerprint)
