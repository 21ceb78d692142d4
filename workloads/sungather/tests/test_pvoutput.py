"""The PVOutput export against a stand-in that keeps the service's rules (acceptance point 46)."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from aiohttp import web

from sungather.exports.destination import Blocked, Item, Later, NotYet
from sungather.exports.pvoutput import PvOutput

START = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)
PARAMETERS = [
    {"name": "v1", "register": "daily_power_yields", "multiple": 1000},
    {"name": "v2", "register": "total_active_power"},
    {"name": "v6", "register": "phase_a_voltage"},
]


class Service:
    """pvoutput.org in small: refuses more than 30 points, counts requests, can refuse single points."""

    def __init__(self) -> None:
        self.points: list[str] = []
        self.calls: list[str] = []
        self.refused: set[str] = set()
        self.forms: list[dict] = []
        self.headers: dict[str, str] = {}
        self.status: tuple[int, str] | None = None
        self.url = ""

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/service/r2/{name}", self._serve)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/service/r2/"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _serve(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        self.calls.append(name)
        form = dict(await request.post())
        self.forms.append(form)
        if (
            request.headers.get("X-Pvoutput-Apikey") != "good-key"
            or request.headers.get("X-Pvoutput-SystemId") != "42"
        ):
            return web.Response(status=401, text="Unauthorized 401: Invalid API Key")
        if self.status:
            return web.Response(status=self.status[0], text=self.status[1], headers=self.headers)
        if name == "getsystem.jsp":
            system = ",".join(["Home", "4000", "2000", "16", "250"] + ["x"] * 10 + ["5"])
            return web.Response(text=f"{system};;9,10", headers=self.headers)
        if name == "addbatchstatus.jsp":
            given = form["data"].split(";")
            if len(given) > 30:
                return web.Response(status=400, text="Bad request 400: more than 30 statuses")
            said = []
            for point in given:
                date, time = point.split(",")[:2]
                said.append(f"{date},{time},{0 if time in self.refused else 1}")
                if time not in self.refused:
                    self.points.append(point)
            return web.Response(text=";".join(said), headers=self.headers)
        return web.Response(text="OK 200", headers=self.headers)


class At:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self):
        return datetime.fromtimestamp(START.timestamp() + self.seconds, UTC)

    local = now

    def monotonic(self):
        return self.seconds


@pytest.fixture
async def service():
    made = Service()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def clock():
    return At()


@pytest.fixture
async def pvoutput(service, clock):
    made = []

    def make(**rest):
        options = {"api": "good-key", "sid": "42", "join_team": False, "rate_limit": 60, "cumulative_flag": 0}
        options |= {"batch_points": 1, "parameters": PARAMETERS, "url": service.url}
        for parameter in options["parameters"]:
            parameter.setdefault("multiple", None)
        made.append(PvOutput(options | rest, clock, 30.0))
        return made[-1]

    yield make
    for one in made:
        await one.close()


def sample(seconds: float, **values) -> Item:
    when = datetime.fromtimestamp(START.timestamp() + seconds, UTC)
    payload = json.dumps({"t": when.strftime("%Y-%m-%d %H:%M:%S"), "v": values})
    return Item(int(seconds) + 1, f"k{seconds}", when.timestamp(), payload)


async def test_a_point_is_the_mean_power_and_last_energy_of_a_whole_interval_and_zero_is_zero(
    pvoutput, service, clock
):
    one = pvoutput()
    items = [sample(30 * i, v1=1000.0 + i, v2=0 if i < 10 else 600) for i in range(20)]
    clock.seconds = 600
    delivery = await one.deliver(items)
    assert service.points == ["20261121,12:00,1009,0", "20261121,12:05,1019,600"]
    assert delivery.sent == items
    assert not delivery.rejected


async def test_an_interval_that_is_not_over_waits_so_the_first_one_is_not_distorted(pvoutput, service, clock):
    one = pvoutput()
    clock.seconds = 130
    with pytest.raises(NotYet) as wait:
        await one.deliver([sample(100, v2=5), sample(130, v2=9)])
    assert 165 <= wait.value.seconds <= 171
    assert service.points == []


async def test_the_hour_that_comes_twice_when_summer_time_ends_uploads_no_interval_before_it_is_over(
    pvoutput, service, clock
):
    one = pvoutput()
    before = sample(59 * 60 + 50, v2=5)  # 12:59:50, and after it the clock shows 12:00:20
    after = sample(60 * 60 + 20, v2=9)
    after = Item(after.seq, after.key, after.at, after.payload.replace("13:00:20", "12:00:20"))
    clock.seconds = 60 * 60 + 20
    delivery = await one.deliver([before, after])
    assert service.points == ["20261121,12:55,,5"]
    assert delivery.sent == [before]


async def test_batches_have_at_most_30_points(pvoutput, service, clock):
    one = pvoutput()
    items = [sample(300 * i, v2=i) for i in range(70)]
    clock.seconds = 300 * 71
    sent = []
    while len(sent) < 70:
        delivery = await one.deliver([i for i in items if i not in sent])
        assert len(delivery.sent) <= 30
        sent += delivery.sent
    assert len(service.points) == 70
    assert service.points[0].startswith("20261121,12:00,,0")


async def test_batch_points_collects_before_it_uploads(pvoutput, service, clock):
    one = pvoutput(batch_points=3)
    clock.seconds = 700
    with pytest.raises(NotYet):
        await one.deliver([sample(0, v2=1), sample(300, v2=2), sample(650, v2=3)])
    clock.seconds = 1000
    await one.deliver([sample(0, v2=1), sample(300, v2=2), sample(650, v2=3)])
    assert len(service.points) == 3


async def test_a_point_that_the_service_refuses_costs_only_itself(pvoutput, service, clock):
    service.refused = {"12:05"}
    one = pvoutput()
    items = [sample(300 * i, v2=i) for i in range(3)]
    clock.seconds = 1000
    delivery = await one.deliver(items)
    assert delivery.sent == [items[0], items[2]]
    assert [item for item, _ in delivery.rejected] == [items[1]]


async def test_a_bad_key_blocks_and_is_never_logged(pvoutput, service, clock, caplog):
    caplog.set_level(0)
    one = pvoutput(api="bad-key-123")
    with pytest.raises(Blocked) as error:
        await one.deliver([sample(0, v2=1)])
    assert "bad-key-123" not in str(error.value) + caplog.text


async def test_the_hourly_limit_is_kept(pvoutput, service, clock):
    one = pvoutput(rate_limit=3)
    for i in range(2):
        clock.seconds = 300 * i + 400
        await one.deliver([sample(300 * i, v2=1)])
    clock.seconds = 1000
    with pytest.raises(NotYet) as wait:
        await one.deliver([sample(600, v2=1)])
    assert wait.value.seconds > 2900
    clock.seconds = 400 + 3601
    await one.deliver([sample(600, v2=1)])
    assert len(service.calls) == 4


async def test_the_services_own_limit_headers_are_respected(pvoutput, service, clock):
    service.headers = {
        "X-Rate-Limit-Remaining": "0",
        "X-Rate-Limit-Reset": str(int(START.timestamp()) + 2000),
    }
    one = pvoutput()
    clock.seconds = 400
    with pytest.raises(NotYet) as wait:
        await one.deliver([sample(0, v2=1)])
    assert wait.value.seconds == pytest.approx(1600)


@pytest.mark.parametrize(("status", "error"), [(403, Later), (500, Later), (503, Later), (405, Blocked)])
async def test_other_refusals_have_their_class(pvoutput, service, clock, status, error):
    service.status = (status, "Forbidden 403: Exceeded 60 requests per hour" if status == 403 else "x")
    with pytest.raises(error):
        await pvoutput().deliver([sample(0, v2=1)])


async def test_no_team_is_joined_unless_asked(pvoutput, service, clock):
    clock.seconds = 400
    await pvoutput().deliver([sample(0, v2=1)])
    assert "jointeam.jsp" not in service.calls
    await pvoutput(join_team=True).deliver([sample(0, v2=1)])
    assert "jointeam.jsp" in service.calls


async def test_points_of_more_than_14_days_ago_are_given_up_with_a_reason(pvoutput, service, clock):
    clock.seconds = 15 * 86400
    delivery = await pvoutput().deliver([sample(0, v2=1)])
    assert "14 days" in delivery.rejected[0][1]


async def test_an_outage_of_the_service_is_filled_afterwards(run, hybrid, service, eventually):
    export = {
        "name": "pvoutput",
        "enabled": True,
        "api": "good-key",
        "sid": 42,
        "parameters": PARAMETERS,
        "url": service.url,
    }
    service.status = (503, "down")
    application = run({"port": hybrid.port, "level": 2}, [export])
    application.exporters[0].destination.flush = True
    await application.start()
    await eventually(lambda: str(application.exporters[0].status.state) == "retrying")
    service.status = None
    application.exporters[0].retry_now()
    await eventually(lambda: service.points)
    assert service.points[0] == "20261121,12:30,12300,3000,,,,230.1"
