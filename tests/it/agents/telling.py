"""An agent that tells. From its initialisation on it says an `event` every few milliseconds, counted and of changing length,
and writes what it said into the file DIRECTORY/SESSION first; with a second argument it says so many bytes each time. A
request {"stderr": TEXT} is written to stderr, {"pause": true} stops the telling; both are answered with how many events were
said.
"""

import json
import os
import sys
import threading
import time

lock = threading.Lock()
said, is_paused = 0, False
diary = open(os.path.join(sys.argv[1], os.environ["FRONTDESK_SESSION"]), "a", buffering=1)
bytes_each = int(sys.argv[2]) if len(sys.argv) > 2 else None


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def tell():
    global said
    while True:
        with lock:
            if not is_paused:
                said += 1
                length = said * 7919 % 997 if bytes_each is None else bytes_each
                event = {"N": said, "TEXT": "ä\n" * (length // 2)}
                diary.write(json.dumps(event) + "\n")
                send({"method": "event", "params": event})
        time.sleep(0.002)


for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "shutdown":
        break
    if "id" in message:
        asked = message.get("params", {}).get("REQUEST") or {}
        with lock:
            is_paused = is_paused or "pause" in asked
            sys.stderr.write(asked.get("stderr", ""))
            sys.stderr.flush()
            send({"id": message["id"], "result": said})
    if message["method"] == "initialize":
        threading.Thread(target=tell, daemon=True).start()
lock.acquire()
