"""An agent with one mistake of the kind that authors make, named by its argument, for `frontdesk agent check`."""

import json
import os
import signal
import subprocess
import sys
import time

MISTAKE = sys.argv[1]


def send(message):
    # As `print` without `flush`: a pipe is buffered.
    print(json.dumps({"jsonrpc": "2.0", **message}))
    if MISTAKE != "unflushed":
        sys.stdout.flush()


def answer(id, request):
    if MISTAKE == "prints":
        print("got", request)
    if MISTAKE == "wrong-id":
        id += 100
    if MISTAKE == "text-id":
        id = str(id)
    if MISTAKE == "dies":
        raise ValueError("no such table")
    if MISTAKE == "slow":
        time.sleep(0.3)
    send({"id": id, "result": request})
    if MISTAKE == "twice":
        send({"id": id, "result": request})


if MISTAKE == "crashes-at-start":
    sys.exit("no configuration")
if MISTAKE == "silent":
    print(os.getpid(), file=sys.stderr, flush=True)
if MISTAKE == "deaf-to-sigterm":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if MISTAKE == "leaves-a-child":
    # In a session of its own, so that no process group leads to it.
    subprocess.Popen(["sleep", "300"], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

for line in sys.stdin:
    message = json.loads(line)
    method, id = message["method"], message.get("id")
    if MISTAKE == "silent":
        continue
    elif method == "request":
        answer(id, message["params"]["REQUEST"])
    elif method == "shutdown":
        break
    elif method in ("initialize", "ping") or (MISTAKE == "knows-everything" and id is not None):
        send({"id": id, "result": {}})
    elif id is not None:
        send({"id": id, "error": {"code": -32601, "message": "unknown method"}})

while MISTAKE == "stays":
    time.sleep(60)
if MISTAKE == "deaf-to-sigterm":
    os._exit(0)
