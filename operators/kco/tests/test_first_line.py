"""The thin line through everything: poll, difference, Event, rule, ledger, webhook, status."""

from typing import Any

from aiohttp import web


async def receiver(seen: list[Any], statuses: list[int] | None = None) -> web.AppRunner:
    async def hook(request: web.Request) -> web.Response:
        seen.append({"body": await request.json(), "headers": dict(request.headers)})
        return web.Response(status=statuses.pop(0) if statuses else 200)

    application = web.Application()
    application.router.add_post("/hook", hook)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    return runner


async def test_an_unhealthy_application_gets_an_event_and_its_webhook_once(bed, app, until) -> None:
    seen: list[Any] = []
    runner = await receiver(seen)
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    await bed.start()
    await bed.make(
        graphqlEndpoint=app.url,
        actions=[
            {
                "name": "tell",
                "trigger": {"field": "application.health", "condition": "equals", "value": "unhealthy"},
                "action": "webhook",
                "parameters": {"url": url, "payload": {"text": "{{ application.health }} now"}},
            }
        ],
    )
    await until(lambda: app.requests)
    app.turn(application={"health": "unhealthy"})
    await until(lambda: seen)
    assert seen[0]["body"]["text"] == "unhealthy now"
    assert seen[0]["body"]["changes"] == [
        {"field": "application.health", "old": "healthy", "new": "unhealthy"}
    ]
    runs = await until(lambda: _succeeded(bed))
    assert [run["spec"]["rule"] for run in runs] == ["tell"]
    changed = await until(lambda: bed.events("StateChanged"))
    assert changed[0]["message"] == "application.health: healthy → unhealthy"
    assert changed[0]["type"] == "Warning"
    status = await until(lambda: _counted(bed))
    assert status["state"] == "Monitoring"
    assert status["rules"][0]["transitions"] == 1
    assert len(seen) == 1
    await runner.cleanup()


async def _succeeded(bed: Any) -> Any:
    runs = await bed.runs()
    return [run for run in runs if run.get("status", {}).get("phase") == "Succeeded"]


async def _counted(bed: Any) -> Any:
    status = (await bed.read()).get("status") or {}
    return status if status.get("actionsExecuted") == 1 and status.get("eventsGenerated", 0) >= 3 else None
