"""Run by judge.py in upstream's environment: HOST PORT -> what SungrowModbusWebClient saw, as JSON."""

import json
import sys

from SungrowModbusWebClient import SungrowModbusWebClient

client = SungrowModbusWebClient.SungrowModbusWebClient(host=sys.argv[1], port=sys.argv[2], timeout=3)
client.connect()
words = client.read_input_registers(4999, count=38, unit=1).registers
print(json.dumps({"words": words, "dev_code": client.dev_code, "dev_type": client.dev_type}))
