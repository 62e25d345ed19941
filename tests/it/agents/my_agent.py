"""The agent whose check docs/AGENT-PROTOCOL.md shows: it prints to stdout, and answers whatever it is called with."""

import json, sys

for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "shutdown":
        break
    if message["method"] == "request":
        print("working on", message["params"]["REQUEST"].get("hello"))
    if "id" in message:
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": {}}), flush=True)
