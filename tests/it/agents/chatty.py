"""An agent that never stops talking: it tells of an event and of its progress all the time, and answers each request with
how many it has handled and which of them it was given more than once."""

import json
import os
import sys
import threading
import time

lock = threading.Lock()
handled, seen, twice = 0, set(), []


def send(message):
    data = json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
    with lock:
        while data:
            data = data[os.write(1, data):]


def talk():
    told = 0
    while True:
        told += 1
        send({"method": "event", "params": {"told": told}})
        send({"method": "progress", "params": {"TEXT": f"told {told}"}})
        time.sleep(0.1)


for line in sys.stdin:
    message = json.loads(line)
    method, id = message["method"], message.get("id")
    if method == "initialize":
        send({"id": id, "result": {}})
        threading.Thread(target=talk, daemon=True).start()
    elif method == "request":
        request = message["params"]["REQUEST"]
        handled += 1
        if request in seen:
            twice.append(request)
        seen.add(request)
        send({"id": id, "result": {"handled": handled, "twice": twice}})
    elif method == "shutdown":
        break
    elif id is not None:
        send({"id": id, "result": {}})
