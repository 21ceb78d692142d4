"""What the pages show: upstream's /json, the config page, health."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from typing import Any

from sungather.application import Application
from sungather.exports.upstream_shape import client_config, inverter_config
from sungather.registers.scan import Identity

_CONFIG = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>SunGather: configuration</title>
<meta name="viewport" content="width=device-width,initial-scale=1"><style>
:root{{color-scheme:light dark}}body{{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem}}
table{{border-collapse:collapse;width:100%;margin-bottom:2rem}}th,td{{text-align:left;padding:.3rem .6rem;
border-bottom:1px solid color-mix(in srgb,currentColor 20%,transparent);word-break:break-word}}th{{width:40%;font-weight:500}}
</style></head><body><main><h1>Configuration</h1><p>As the collector uses it, with secrets masked. To change it, edit the
config file and restart. <a href="./">Back to the readings</a></p>{body}</main></body></html>"""


def upstream_json(application: Application) -> dict[str, Any]:
    """Upstream's layout, keyed by address; names that share an address stand under `all`, none is lost."""
    snapshot = application.collector.snapshot
    inverter = application.settings.inverter
    identity = application.session.identity or Identity(None, "")
    content: dict[str, Any] = {
        "registers": {},
        "client_config": {k: str(v) for k, v in client_config(inverter).items()},
        "inverter_config": {k: str(v) for k, v in inverter_config(inverter, identity).items()},
        "all": {},
    }
    if snapshot is None:
        return content | {"status": "pending"}
    for reading in snapshot.shown().values():
        entry = {"register": reading.name, "value": str(reading.value), "unit": reading.unit}
        content["registers"].setdefault(reading.address, entry)
        content["all"][reading.name] = {
            "value": reading.value,
            "unit": reading.unit,
            "address": reading.address,
            "quality": str(reading.quality),
        }
    return content


def config_page(masked: Mapping[str, Any]) -> str:
    """The effective config as a read-only page."""
    parts = [_table("inverter", masked["inverter"])]
    parts += [
        _table(f"export {e['name']}", {k: v for k, v in e.items() if k != "name"}) for e in masked["exports"]
    ]
    parts.append(_table("collector", masked["collector"]))
    return _CONFIG.format(body="".join(parts))


def _table(title: str, values: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><th scope=row>{html.escape(str(k))}</th><td>{html.escape('' if v is None else str(v))}</td></tr>"
        for k, v in values.items()
    )
    return f"<h2>{html.escape(title)}</h2><table>{rows}</table>"


def health(application: Application) -> dict[str, Any]:
    """Live is that this answers; fresh is that a reading came lately."""
    collector = application.collector
    age = collector.age()
    return {
        "live": True,
        "fresh": collector.fresh(),
        "state": str(collector.state),
        "since": collector.state_since.isoformat(),
        "age_seconds": None if math.isinf(age) else round(age, 1),
        "error": str(collector.last_error) if collector.last_error else None,
        "exports": {e.name: str(e.status.state) for e in application.exporters},
    }
