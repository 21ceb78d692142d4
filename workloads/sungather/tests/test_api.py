"""The web page, JSON, metrics, health and actions (acceptance points 49 to 52, section 3)."""

from __future__ import annotations

import asyncio
import json
import re
import struct

import aiohttp
import pytest
from aiohttp import web
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_prometheus

from sungather.api.server import serve
from sungather.ledger import Ledger

pytestmark = pytest.mark.skipping

WEB = {"name": "webserver", "enabled": True, "port": 0, "host": "127.0.0.1"}


class Client:
    def __init__(self, port: int, prefix: str = "") -> None:
        self.base = f"http://127.0.0.1:{port}{prefix}"
        self.port = port
        self.headers: dict[str, str] = {}

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as http, http.get(self.base + path, headers=headers) as response:
            return response.status, await response.text()

    async def json(self, path: str) -> dict:
        return json.loads((await self.get(path))[1])

    async def post(self, path: str, body: object = None, **headers: str) -> tuple[int, dict]:
        data = json.dumps(body or {})
        headers = {"Content-Type": "application/json"} | self.headers | headers
        async with (
            aiohttp.ClientSession() as http,
            http.post(self.base + path, data=data, headers=headers) as response,
        ):
            return response.status, await response.json()


@pytest.fixture
async def served(run):
    """serve(...) gives an application and a client of its web server."""
    open_servers = []

    async def make(inverter, exports=(), **collector):
        application = run(inverter, [WEB, *exports], **collector)
        context = serve(application)
        bound = await context.__aenter__()
        open_servers.append(context)
        return application, Client(bound[0][1])

    yield make
    for context in open_servers:
        await context.__aexit__(None, None, None)


async def test_every_address_answers_before_the_first_reading(served):
    _, client = await served({"port": 1})
    expected = {
        "/": 200,
        "/config": 200,
        "/json": 503,
        "/metrics": 200,
        "/health": 503,
        "/live": 200,
        "/ready": 503,
    }
    expected |= {
        "/api/readings": 503,
        "/api/inverter": 200,
        "/api/exports": 200,
        "/api/energy": 200,
        "/api/now": 200,
    }
    expected |= {
        "/api/status": 200,
        "/api/config": 200,
        "/api/history": 200,
        "/api/control": 200,
        "/nothing": 404,
    }
    for path, status in expected.items():
        assert (await client.get(path))[0] == status, path
    assert (await client.json("/json"))["status"] == "pending"


async def test_json_keeps_upstreams_layout_and_loses_no_name(served, hybrid):
    application, client = await served({"port": hybrid.port, "level": 2})
    await application.collector.collect()
    content = await client.json("/json")
    assert content["registers"]["13008"] == {"register": "load_power_hybrid", "value": "1200", "unit": "W"}
    assert content["registers"]["vr004"]["register"] == "export_to_grid"
    assert content["client_config"]["port"] == str(hybrid.port)
    assert content["inverter_config"]["model"] == "SH10RT"
    assert content["all"]["state_feed_into_grid"]["value"] == 1
    assert content["all"]["state_battery_charging"]["address"] == "13001"


async def test_readings_by_name_group_and_age(served, hybrid):
    application, client = await served({"port": hybrid.port, "level": 2})
    await application.collector.collect()
    found = await client.json("/api/readings?names=phase_*_voltage,battery_level")
    assert set(found["readings"]) == {
        "phase_a_voltage",
        "phase_b_voltage",
        "phase_c_voltage",
        "battery_level",
    }
    assert found["readings"]["battery_level"] == {
        "value": 65.5,
        "unit": "%",
        "quality": "good",
        "address": "13023",
        "group": "battery",
    }
    battery = await client.json("/api/readings?group=battery")
    assert all(r["group"] == "battery" for r in battery["readings"].values())
    assert (await client.get("/api/readings?names=nothing"))[0] == 404
    assert (await client.get("/api/readings?colour=red"))[0] == 400
    await asyncio.sleep(0.05)
    assert (await client.get("/api/readings?max-age=0.01"))[0] == 503


@pytest.mark.parametrize("openmetrics", [False, True])
async def test_metrics_parse_and_carry_prefix_unit_help_and_type(served, hybrid, openmetrics):
    mqtt = {"name": "mqtt", "enabled": True, "host": "127.0.0.1", "port": 1}
    application, client = await served({"port": hybrid.port, "level": 2}, [mqtt])
    await application.collector.collect()
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"} if openmetrics else {}
    _, text = await client.get("/metrics", **accept)
    families = {f.name: f for f in (parse_openmetrics if openmetrics else parse_prometheus)(text)}
    assert families["sungather_battery_level_percent"].samples[0].value == 65.5
    assert families["sungather_load_power_hybrid_watts"].documentation
    assert families["sungather_nominal_active_power_watts"].samples[0].value == 10000, "base units: 10 kW"
    for family in families.values():
        assert family.name.startswith("sungather_")
        assert family.type in ("gauge", "counter")
    texts = {s.labels["name"]: s.labels["value"] for s in families["sungather_text_info"].samples}
    assert texts["system_state"] == "Run"
    wanted = "reading_age_seconds up build_info inverter_info export_queue_length export_up scans export_sent export_dropped"
    for name in wanted.split():
        assert f"sungather_{name}" in families
    assert families["sungather_export_queue_length"].samples[0].value == 1


async def test_an_inverter_text_cannot_inject_into_page_or_metrics(served, hybrid):
    for i, word in enumerate(struct.unpack(">8H", b'<b>"\\x\n</script>')):
        hybrid.input[4990 + i] = word
    application, client = await served({"port": hybrid.port, "level": 3})
    await application.collector.collect()
    _, text = await client.get("/metrics")
    labels = next(f for f in parse_prometheus(text) if f.name == "sungather_inverter_info").samples[0].labels
    assert labels["serial_number"].startswith('<b>"\\x')
    page = (await client.get("/"))[1] + (await client.get("/config"))[1]
    assert "<b>" not in page


async def test_the_config_page_escapes_and_masks(served):
    mqtt = {"name": "mqtt", "enabled": True, "host": "a", "topic": "<img src=x>", "password": "hush-hush"}
    _, client = await served({"port": 1}, [mqtt])
    _, page = await client.get("/config")
    assert "&lt;img src=x&gt;" in page
    assert "<img" not in page
    everything = page + (await client.get("/api/config"))[1] + (await client.get("/metrics"))[1]
    assert "hush-hush" not in everything


async def test_the_page_has_no_external_resources_and_only_relative_addresses(served):
    _, client = await served({"port": 1})
    _, page = await client.get("/")
    without_names = page.replace("http://www.w3.org/2000/svg", "")
    assert "http" not in re.sub(r"data:[^\"]*", "", without_names)
    assert not re.search(r"(href|src)=\"/", page)
    assert 'lang="en"' in page
    assert "prefers-color-scheme: dark" in page
    assert "viewport" in page


async def test_everything_works_behind_a_path_prefix(run, hybrid):
    application = run({"port": hybrid.port}, [WEB], path_prefix="/solar/")
    await application.collector.collect()
    async with serve(application) as bound:
        client = Client(bound[0][1], "/solar")
        assert (await client.get("/health"))[0] == 200
        assert (await client.get("/"))[0] == 200
        assert (await client.get(""))[1] == (await client.get("/"))[1], "the slash may be left out"
        assert (await Client(bound[0][1]).get("/"))[0] == 404


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PROPFIND", "BREW"])
async def test_other_methods_on_pages_are_405(served, method):
    _, client = await served({"port": 1})
    async with aiohttp.ClientSession() as http:
        for path in ("/", "/json", "/metrics", "/config"):
            async with http.request(method, client.base + path) as response:
                assert response.status == 405
                assert "GET" in response.headers["Allow"]
                assert "error" in await response.json()


async def test_what_is_not_http_gets_an_answer_and_no_line_in_the_log(served, caplog):
    _, client = await served({"port": 1})
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"GET / HTTP/1.1\r\nno colon\r\n\r\n")
    async with asyncio.timeout(120):
        assert b" 400 " in (await reader.read()).partition(b"\r\n")[0]
    writer.close()
    assert not caplog.text


async def test_a_stalled_client_does_not_hold_up_others(served, hybrid):
    application, client = await served({"port": hybrid.port})
    await application.collector.collect()
    _, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
    async with asyncio.timeout(120):
        assert (await client.get("/health"))[0] == 200
    writer.close()


async def test_what_changes_something_needs_json_and_the_token(served, hybrid):
    application, client = await served({"port": hybrid.port}, api_token="open-sesame")
    assert (await client.post("/api/collect-now"))[0] == 401
    assert (await client.post("/api/collect-now", Authorization="Bearer wrong"))[0] == 401
    good = {"Authorization": "Bearer open-sesame"}
    assert (await client.post("/api/collect-now", **good))[0] == 200
    async with (
        aiohttp.ClientSession() as http,
        http.post(client.base + "/api/pause", data="minutes=5", headers=good) as response,
    ):
        assert response.status == 415
    assert application.collector.paused_seconds() == 0


async def test_without_a_token_only_this_machine_may_change_something(served, hybrid):
    _, client = await served({"port": hybrid.port})
    assert (await client.post("/api/pause", **{"X-Forwarded-For": "192.0.2.1"}))[0] == 403
    assert (await client.post("/api/pause", Host="evil.example"))[0] == 403
    assert (await client.post("/api/pause"))[0] == 200


async def test_collect_now_collects_inside_the_loop(served, hybrid):
    application, client = await served({"port": hybrid.port})
    status, result = await client.post("/api/collect-now", {"wait": 5})
    assert (status, result["cycle"], result["reads_failed"]) == (200, 1, 0)
    assert result["reading_id"] == application.collector.snapshot.id
    assert result["registers_ok"] > 30
    hybrid.fault = lambda frame: None
    status, result = await client.post("/api/collect-now", {"wait": 5})
    assert status == 502
    assert "could not be read" in result["error"]
    assert (await client.post("/api/collect-now", {"wait": "soon"}))[0] == 400
    assert (await client.post("/api/collect-now", {"when": 1}))[0] == 400


async def test_inverter_info_tells_the_truth(served, hybrid):
    application, client = await served({"port": hybrid.port, "level": 2})
    before = await client.json("/api/inverter")
    assert (before["model"], before["battery_present"]) == (None, None)
    await application.collector.collect()
    info = await client.json("/api/inverter")
    assert (info["model"], info["type_code"], info["serial_number"]) == ("SH10RT", "0x0E03", "A2290112345")
    assert (info["rated_watts"], info["output_type"], info["battery_present"]) == (10000.0, "3P4L", True)
    assert info["arm_firmware"] == "SAPPHIRE-H_B000.V000.P012"
    assert info["mppt_inputs"] == 2, "as many as give a voltage, not as many as the family may have"


async def test_check_inverter_names_the_step_that_fails_and_never_opens_a_second_session(served, hybrid):
    application, client = await served({"port": hybrid.port})
    _, good = await client.post("/api/check-inverter")
    assert (good["ok"], good["model"]) == (True, "SH10RT")
    assert [s["step"] for s in good["steps"]] == ["dns", "tcp", "type-code"]
    _, refused = await client.post("/api/check-inverter", {"port": 1})
    assert [s["ok"] for s in refused["steps"]] == [True, False]
    assert refused["steps"][1]["hint"]
    _, wrong = await client.post("/api/check-inverter", {"unit-id": 9})
    assert "exception 11" in wrong["steps"][-1]["error"]
    _, unencrypted = await client.post("/api/check-inverter", {"connection": "sungrow", "port": hybrid.port})
    assert [(s["step"], s["ok"]) for s in unencrypted["steps"]] == [
        ("dns", True),
        ("tcp", True),
        ("key", False),
    ]
    await asyncio.gather(application.collector.collect(), client.post("/api/check-inverter"))
    assert hybrid.most_open == 1
    assert (await client.post("/api/check-inverter", {"connection": "pigeon"}))[0] == 400


async def test_raw_registers_and_a_dump_without_the_serial_number(served, hybrid):
    hybrid.holes.update(range(5100, 5200))
    application, client = await served({"port": hybrid.port})
    await application.collector.collect()
    _, raw = await client.post(
        "/api/read-registers", {"kind": "input", "address": 13034, "count": 2, "type": "S32"}
    )
    assert (raw["words"], raw["decoded"]) == ([3000, 0], [3000])
    _, refused = await client.post("/api/read-registers", {"address": 5150})
    assert "exception 2" in refused["error"]
    _, dump = await client.post("/api/dump-registers", {"ranges": "input 4990-5120, holding 5000-5006"})
    assert dump["input"]["5000"] == 0x0E03
    assert dump["input"]["5099"] == 0xFFFF
    assert "5100" not in dump["input"]
    assert dump["holding"]["5006"] == 0xCF
    text = b"".join(dump["input"][str(a)].to_bytes(2, "big") for a in range(4990, 5000))
    assert text == b"X" * 11 + bytes(9)
    _, whole = await client.post("/api/dump-registers", {"redact": False})
    assert whole["input"]["4990"] == 0x4132
    assert len(whole["input"]) > 500
    assert (await client.post("/api/dump-registers", {"ranges": "everything"}))[0] == 400


async def test_pause_leaves_the_inverter_alone_and_resume_ends_it(served, hybrid, eventually):
    application, client = await served({"port": hybrid.port})
    await application.start()
    await eventually(lambda: application.collector.snapshot)
    _, paused = await client.post("/api/pause", {"minutes": 10})
    assert paused["state"] == "paused"
    assert (await client.post("/api/collect-now"))[0] == 409
    await asyncio.sleep(1)  # what was under way has ended
    before = hybrid.connections
    await asyncio.sleep(60)
    assert hybrid.connections == before
    await client.post("/api/resume")
    await eventually(lambda: hybrid.connections > before)


@pytest.mark.parametrize(
    ("action", "given"),
    [
        ("refresh-inverter", {}),
        ("check-inverter", {}),
        ("read-registers", {"address": 5000}),
        ("dump-registers", {"ranges": "input 5000"}),
        ("set-battery-mode", {"mode": "hold", "dry-run": True}),
    ],
)
async def test_a_paused_collector_keeps_away_from_the_inverter_whatever_is_asked(
    served, hybrid, action, given
):
    application, client = await served({"port": hybrid.port}, allow_control=True)
    await application.collector.collect()
    await client.post("/api/pause", {"minutes": 10})
    before = hybrid.connections
    status, told = await client.post(f"/api/{action}", given)
    assert (status, told["error"]) == (409, "paused: POST /api/resume first")
    assert hybrid.connections == before


async def test_a_collection_that_was_under_way_does_not_end_a_pause(served, hybrid):
    application, client = await served({"port": hybrid.port})
    asked, answer = asyncio.Event(), asyncio.Event()

    async def slow(frame):
        asked.set()
        await answer.wait()
        return hybrid.answer(frame)

    hybrid.fault = slow
    under_way = asyncio.create_task(application.collector.collect())
    await asked.wait()
    await client.post("/api/pause", {"minutes": 10})
    answer.set()
    assert (await under_way).snapshot is not None
    assert (await client.json("/api/status"))["state"] == "paused"
    assert (await client.post("/api/resume"))[1]["state"] == "starting"


@pytest.mark.parametrize("address", [10**400, 1e308, "1e999", "nan", True, [], {}])
async def test_no_number_is_too_strange_for_an_answer(served, hybrid, address):
    _, client = await served({"port": hybrid.port})
    status, told = await client.post("/api/read-registers", {"address": address})
    assert status == 400
    assert told["error"].startswith("address ")


@pytest.mark.parametrize("host", ["a..b", "x" * 64, "", "a b", "http://a"])
async def test_an_impossible_host_is_named(served, hybrid, host):
    _, client = await served({"port": hybrid.port})
    status, told = await client.post("/api/check-inverter", {"host": host})
    assert (status, told["error"]) == (400, f"host is {host!r}, which is not a host name or address")


async def test_a_pause_ends_by_itself(served, hybrid, eventually):
    application, client = await served({"port": hybrid.port})
    await application.start()
    await eventually(lambda: application.collector.snapshot)
    await client.post("/api/pause", {"minutes": 0.5})
    before = hybrid.connections
    await eventually(lambda: hybrid.connections > before)


async def test_exports_are_told_truthfully(served, hybrid, eventually):
    mqtt = {"name": "mqtt", "enabled": True, "host": "127.0.0.1", "port": 1}
    application, client = await served({"port": hybrid.port}, [mqtt])
    await application.start()
    await eventually(lambda: application.exporters[0].status.last_error)
    told = (await client.json("/api/exports"))["exports"]["mqtt"]
    assert told["state"] == "retrying"
    assert told["last_success"] is None
    assert told["queue_length"] >= 1
    assert "127.0.0.1:1" in told["last_error"]
    assert (await client.get("/api/exports?export=influxdb"))[0] == 404
    _, checked = await client.post("/api/check-exports", {"wait": 0})
    assert checked["exports"]["mqtt"]["failures"] >= 1
    assert (await client.post("/api/clear-discovery"))[0] == 400
    assert (await client.post("/api/republish-discovery"))[0] == 502


async def test_what_was_sent_can_be_sent_again_under_the_same_key(served, hybrid, eventually):
    lines: list[str] = []

    async def take(request: web.Request) -> web.Response:
        lines.extend((await request.text()).split("\n"))
        return web.Response(status=204)

    database = web.Application()
    database.router.add_post("/api/v2/write", take)
    runner = web.AppRunner(database)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    export = {"name": "influxdb", "enabled": True, "bucket": "sun", "version": "2"}
    export |= {"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}
    export |= {"measurements": [{"point": "power", "register": "export_to_grid"}]}
    application, client = await served({"port": hybrid.port, "scan_interval": 60}, [export])
    await application.start()
    await eventually(lambda: len(lines) == 1)
    status, told = await client.post("/api/replay-buffer", {"from": "2020-01-01T00:00:00Z", "wait": 5})
    assert (status, told) == (200, {"queued": {"influxdb": 1}, "waiting": {"influxdb": 0}})
    assert lines[0] == lines[1], "with its own time, so that it is stored once"
    assert (await client.post("/api/replay-buffer", {"from": "yesterday"}))[0] == 400
    assert (await client.post("/api/replay-buffer", {"from": "2020-01-01", "export": "mqtt"}))[0] == 404
    _, nothing = await client.post("/api/replay-buffer", {"from": "2999-01-01"})
    assert nothing["queued"] == {"influxdb": 0}
    await application.stop()
    await runner.cleanup()


async def test_energy_summary_and_history(served, hybrid):
    application, client = await served({"port": hybrid.port, "level": 1})
    await application.collector.collect()
    today = await client.json("/api/energy?period=today")
    assert (today["produced"], today["imported"], today["exported"]) == (11.0, 0.5, 6.1)
    assert (today["charged"], today["discharged"], today["used"]) == (4.2, 3.1, 4.3)
    assert today["self_use_percent"] == pytest.approx(44.5)
    assert (await client.json("/api/energy?period=yesterday"))["produced"] is None
    assert (await client.get("/api/energy?period=aeon"))[0] == 400
    history = await client.json("/api/history")
    assert history["day"] == "2026-11-21"
    assert history["samples"] == [
        {"minute": 750, "pv": 5000.0, "load": 1200.0, "grid": -1800.0, "battery": 2000.0, "soc": 65.5}
    ]
    assert history["days"][0]["produced"] == 11.0
    assert (await client.get("/api/history?day=soon"))[0] == 400


async def test_a_clock_that_is_set_back_makes_no_old_reading_fresh(served, hybrid, loop_clock):
    clock = loop_clock()
    application, client = await served({"port": hybrid.port}, clock=clock)
    await application.collector.collect()
    clock.shift = -3600
    assert (await client.json("/api/status"))["age_seconds"] >= 0
    await asyncio.sleep(600)
    status, health = await client.get("/health")
    assert (status, json.loads(health)["fresh"]) == (503, False)


async def test_while_the_inverter_sleeps_a_new_day_begins_all_the_same(served, hybrid, loop_clock):
    clock = loop_clock()
    application, client = await served({"port": hybrid.port}, clock=clock)
    await application.collector.collect()  # at half past twelve by the inverter's clock
    clock.shift = 14 * 3600
    assert (await client.json("/api/energy?period=today"))["produced"] is None
    assert (await client.json("/api/energy?period=yesterday"))["produced"] == 11.0
    assert (await client.json("/api/now"))["today"]["produced"] is None
    history = await client.json("/api/history")
    assert (history["today"], history["day"]) == ("2026-11-22", "2026-11-22")
    assert [day["day"] for day in history["days"]] == ["2026-11-21"]


@pytest.mark.parametrize(
    ("hour", "kept"), [("23:59:30", 12.5), ("00:00:30", 0.1)], ids=["before midnight", "after midnight"]
)
def test_a_counter_that_begins_anew_while_this_clock_is_off_spoils_no_day(tmp_path, hour, kept):
    """With use_local_time the day is this machine's, and the inverter's counters begin anew at another moment."""
    ledger = Ledger(tmp_path)
    for produced in (12.5, 0.1):
        ledger.add_sample(0, f"2026-06-21T{hour}", {}, {"produced": produced})
    (day,) = ledger.days("2026-06-21", "2026-06-21")
    ledger.close()
    assert (day["produced"], day["imported"]) == (kept, None)


async def test_an_address_in_use_is_logged_and_collecting_goes_on(run, hybrid, caplog):
    taken = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    application = run({"port": hybrid.port}, [{**WEB, "port": port}])
    async with serve(application) as bound:
        assert bound == []
        assert (await application.collector.collect()).snapshot is not None
    assert "cannot listen" in caplog.text
    taken.close()
