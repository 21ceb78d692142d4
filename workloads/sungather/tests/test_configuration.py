"""The config file and the command line (acceptance points 23, 24, 27, 28)."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as tuned
from hypothesis import strategies as st

from sungather.configuration.document import keys
from sungather.configuration.settings import load
from sungather.errors import ConfigError
from sungather.registers.catalogue import built_in, from_upstream_file

# Every key that upstream's example file shows, with the kind of value it shows there.
UPSTREAM = """
inverter:
  host: 192.168.1.100
  port: 502
  timeout: 10
  retries: 3
  slave: 0x01
  scan_interval: 30
  connection: modbus
  model: "SG7.0RT"
  serial: A123
  smart_meter: True
  use_local_time: False
  log_console: INFO
  log_file: DEBUG
  level: 1
exports:
  - name: console
    enabled: True
  - name: webserver
    enabled: True
    port: 8080
  - name: influxdb
    enabled: True
    url: "http://localhost:8086"
    token: "xxx"
    username:
    password:
    org: "Default"
    bucket: "SunGather"
    measurements:
      - {point: power, register: daily_power_yields}
      - {point: temp, register: internal_temperature}
  - name: mqtt
    enabled: True
    host: 192.168.1.200
    port: 1883
    topic: "SunGather/{serial_number}"
    username:
    password:
    client_id:
    homeassistant: True
    ha_sensors:
      - {name: Daily Generation, sensor_type: sensor, register: daily_power_yields, device_class: energy}
      - {name: Active, sensor_type: sensor, register: total_active_power, dev_class: power}
  - name: pvoutput
    enabled: True
    api: "xxxxx"
    sid: 12345
    join_team: False
    rate_limit: 60
    cumulative_flag: 2
    batch_points: 1
    parameters:
      - {name: v1, register: daily_power_yields, multiple: 1000}
      - {name: v2, register: total_active_power}
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_every_key_of_upstreams_file_loads_without_a_warning(tmp_path):
    settings = load(write(tmp_path, UPSTREAM))
    assert settings.warnings == ()
    assert settings.inverter.slave == 1
    assert [e.name for e in settings.exports] == ["console", "webserver", "influxdb", "mqtt", "pvoutput"]
    assert settings.exports[4].options["sid"] == "12345"


def test_unknown_keys_warn_with_path_line_and_suggestion(tmp_path):
    text = "inverter:\n  host: a\n  scan_intervall: 5\n  battery_unit: 200\nexports:\n  - name: mqqt\n    enabled: true\nlogging: x\n"
    warnings = load(write(tmp_path, text)).warnings
    assert any(
        "line 3" in w and "inverter.scan_intervall" in w and "did you mean scan_interval" in w
        for w in warnings
    )
    assert any("inverter.battery_unit" in w for w in warnings)
    assert any("line 6" in w and "did you mean mqtt" in w for w in warnings)
    assert any("logging" in w for w in warnings)
    assert "unknown export mqqt" in " ".join(warnings)


def test_a_key_that_is_written_twice_is_named(tmp_path):
    text = "inverter:\n  host: a\n  host: b\nexports:\n  - name: console\n    name: console\n"
    settings = load(write(tmp_path, text))
    assert settings.inverter.host == "b"
    assert any("line 3: inverter.host is written twice" in w for w in settings.warnings)
    assert any("line 6: exports[0].name is written twice" in w for w in settings.warnings)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("- a\n", "must be a mapping"),
        ("inverter: 5\n", "must be a mapping"),
        ("inverter:\n  port: 5\n", "line 1: inverter.host: is required"),
        ("inverter:\n  hots: a\n", "line 2: inverter.hots: is not a key; host is required"),
        ("a: &a [*a]\n", "refers to itself"),
        ("exports: []\n", "inverter"),
        ("inverter:\n  host: a\n  port: many\n", "line 3: inverter.port: must be a whole number"),
        ("inverter:\n  host: a\n  port: 99999\n", "line 3: inverter.port: is 99999, allowed is 1 to 65535"),
        ("inverter:\n  host: a\n  scan_interval: 0\n", "line 3: inverter.scan_interval"),
        ("inverter:\n  host: a\n  connection: bluetooth\n", "allowed: modbus, sungrow"),
        ("inverter:\n  host: a\n  smart_meter: maybe\n", "must be true or false"),
        ("inverter:\n  host: a\n  log_console: [1]\n", "allowed: DEBUG"),
        ("inverter:\n  host: a\n  level: 7\n", "allowed is 0 to 3"),
        ("inverter:\n  host: http://a/\n", "not a host name"),
        ("inverter:\n  host: a..b\n", "line 2: inverter.host: 'a..b' is not a host name"),
        (f"inverter:\n  host: {'x' * 64}.lan\n", "not a host name"),
        ("inverter: {host: a\n", "is not valid YAML"),
        ("inverter:\n  host: a\nexports: mqtt\n", "line 3: exports: must be a list"),
        ("inverter:\n  host: a\nexports:\n  - mqtt\n", "line 4: exports[0]"),
        (
            "inverter:\n  host: a\nexports:\n  - name: mqtt\n    enabled: true\n",
            "exports[0].host: is required",
        ),
        (
            "inverter:\n  host: a\nexports:\n  - {name: mqtt, enabled: true, host: b, topic: 'a/#'}\n",
            "not a topic",
        ),
        (
            "inverter:\n  host: a\nexports:\n  - {name: mqtt, enabled: true, host: b, homeassistant: true}\n",
            "ha_sensors",
        ),
        (
            "inverter:\n  host: a\nexports:\n  - {name: mqtt, enabled: true, host: 'mqtt://b'}\n",
            "line 4: exports[0].host: 'mqtt://b' is not a host name",
        ),
        ("inverter:\n  host: a\nexports:\n  - {name: influxdb, enabled: true, url: nowhere}\n", "not a URL"),
        *(
            (
                f"inverter:\n  host: a\nexports:\n  - {{name: influxdb, enabled: true, url: '{url}'}}\n",
                "no host name",
            )
            for url in ("http://[abc", "http://a..b:8086", "http://db:80x/", "http://db:99999")
        ),
        (
            "inverter:\n  host: a\nexports:\n  - {name: pvoutput, enabled: true, api: x, sid: y, parameters: []}\n",
            "v1, v2",
        ),
    ],
)
def test_wrong_values_name_line_key_and_what_is_allowed(tmp_path, text, said):
    with pytest.raises(ConfigError) as error:
        load(write(tmp_path, text))
    assert said in str(error.value)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-10, 99999), st.text(max_size=5), st.floats(allow_nan=True)
)
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)


@tuned(max_examples=60, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    st.fixed_dictionaries(
        {},
        optional={
            "inverter": st.dictionaries(st.sampled_from(sorted(keys()["inverter"])), anything, max_size=6),
            "exports": st.lists(
                st.dictionaries(
                    st.sampled_from(["name", "enabled", "host", "port", "url", "ha_sensors"]), anything
                ),
                max_size=3,
            ),
            "collector": anything,
        },
    )
)
def test_no_file_gives_anything_but_settings_or_a_config_error(tmp_path_factory, document):
    path = tmp_path_factory.mktemp("c") / "config.yaml"
    path.write_text(yaml.safe_dump(document))
    with contextlib.suppress(ConfigError):
        load(path)


def test_secrets_are_masked_in_what_is_shown(tmp_path):
    masked = load(
        write(tmp_path, UPSTREAM.replace('token: "xxx"', "token: my-token").replace('"xxxxx"', "my-key"))
    ).masked
    assert "my-token" not in str(masked)
    assert "my-key" not in str(masked)


def test_credentials_in_a_database_address_are_moved_to_where_they_are_masked(tmp_path):
    settings = load(write(tmp_path, UPSTREAM.replace("http://localhost:8086", "http://me:s%40fe@db:8086/x")))
    influxdb = settings.exports[2].options
    assert (influxdb["url"], influxdb["username"], influxdb["password"]) == ("http://db:8086/x", "me", "s@fe")
    assert "s%40fe" not in str(settings.masked)
    assert "s@fe" not in str(settings.masked)


def test_every_register_of_the_specification_is_there():
    names = {r.name for r in built_in().registers}
    for name in (
        "mppt_12_current",
        "string_24_current",
        "grid-side_fault",
        "bms_alarm2",
        "work_state_2",
        "soc_reserve",
    ):
        assert name in names
    for name in (
        "protocol_number",
        "alarm_code_1",
        "export_power_from_pv_yearly",
        "anti_pid",
        "battery_max_charge_power",
    ):
        assert name in names
    assert len(names) >= 211


def test_the_catalogue_matches_its_schema_and_has_no_overlap_within_a_model():
    catalogue = built_in()
    assert len(catalogue.devices) > 120
    for register in catalogue.registers:
        assert register.source in catalogue.sources
        assert 1 <= register.address <= 65535
        for pattern in register.models:
            assert pattern == "all" or any(
                f == pattern or (pattern.endswith("*") and f.startswith(pattern[:-1]))
                for f in catalogue.families
            ), f"{register.name}: no family {pattern}"


def test_a_register_file_in_upstreams_format_can_be_used(tmp_path):
    path = tmp_path / "registers.yaml"
    path.write_text(
        "version: 1\nregisters:\n- read:\n"
        "  - {name: device_type_code, level: 0, address: 5000, datatype: U16, datarange: [{response: 0x0E03, value: MINE}]}\n"
        "  - {name: power, level: 1, address: 5017, datatype: U32, unit: W, models: [MINE]}\n"
        "- hold:\n  - {name: year, level: 0, address: 5000, datatype: U16}\n"
        "scan:\n- read: [{start: 4999, range: 20}]\n"
    )
    catalogue = from_upstream_file(path, built_in())
    assert catalogue.device(0x0E03).model == "MINE"
    assert [r.name for r in catalogue.registers] == ["device_type_code", "power", "year"]


def sungather(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "sungather", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=30)


def test_help_reads_well_and_exits_zero(tmp_path):
    for flag in ("-h", "--help"):
        result = sungather(flag, cwd=tmp_path)
        assert result.returncode == 0
        assert "--runonce" in result.stdout
        assert "exit codes" in result.stdout


def test_wrong_flags_and_bad_files_end_with_one_line_and_the_right_code(tmp_path):
    wrong = sungather("--nope", cwd=tmp_path)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    verbose = sungather("-v", "99", cwd=tmp_path)
    assert verbose.returncode == 2
    assert "0 to 50" in verbose.stderr
    missing = sungather("-c", "no.yaml", cwd=tmp_path)
    assert missing.returncode == 1
    assert "cannot be read" in missing.stderr
    assert "Traceback" not in missing.stderr
    path = write(tmp_path, "inverter:\n  host: a\n  model: SH10TR\n")
    model = sungather("-c", str(path), cwd=tmp_path)
    assert model.returncode == 1
    assert "line 3: inverter.model" in model.stderr
    assert "SH10RT" in model.stderr
