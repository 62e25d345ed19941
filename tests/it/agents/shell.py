"""An agent that runs what it is asked to, a request being the text of a shell command, and answers what that printed."""

import json
import subprocess
import sys

for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    if message["method"] == "request":
        done = subprocess.run(["/bin/sh", "-c", message["params"]["REQUEST"]], stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        result = done.stdout.decode(errors="replace").strip()
    else:
        result = {}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
    sys.stdout.flush()
    if message["method"] == "shutdown":
        break
