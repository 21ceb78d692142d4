"""Run by judge.py in upstream's environment: HOST PORT -> what SungrowModbusTcpClient saw, as JSON."""

import json
import sys

from SungrowModbusTcpClient import SungrowModbusTcpClient

client = SungrowModbusTcpClient.SungrowModbusTcpClient(host=sys.argv[1], port=int(sys.argv[2]), timeout=3)
client.connect()
words = client.read_input_registers(4999, count=38, unit=1).registers
print(json.dumps({"words": words, "encrypted": client._key != b"no encryption"}))
client.close()
