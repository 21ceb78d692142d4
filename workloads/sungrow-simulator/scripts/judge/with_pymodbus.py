"""Run by judge.py in pymodbus's environment: HOST PORT WRITABLE-ADDRESS VALUE -> what pymodbus saw, as JSON."""

import json
import sys

from pymodbus.client import ModbusTcpClient

client = ModbusTcpClient(sys.argv[1], port=int(sys.argv[2]), timeout=3, retries=0)
client.connect()
serial = client.read_input_registers(4989, count=10, device_id=1).registers
text = b"".join(word.to_bytes(2, "big") for word in serial).rstrip(b"\0").decode()
wire = int(sys.argv[3]) - 1
client.write_register(wire, int(sys.argv[4]), device_id=1)
read_back = client.read_holding_registers(wire, count=1, device_id=1).registers
print(
    json.dumps(
        {
            "code": client.read_input_registers(4999, count=1, device_id=1).registers[0],
            "serial": text,
            "outside": client.read_input_registers(29999, count=1, device_id=1).exception_code,
            "function": client.read_coils(0, count=1, device_id=1).exception_code,
            "written": read_back == [int(sys.argv[4])],
        }
    )
)
client.close()
