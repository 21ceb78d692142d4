"""Run by judge.py in sungrow-websocket's environment: HOST PORT -> the named values that it saw, as JSON."""

import json
import sys

from sungrow_websocket import SungrowWebsocket

seen = SungrowWebsocket(sys.argv[1], port=int(sys.argv[2])).get_data()
print(json.dumps({name: item.value for name, item in seen.items()}))
