"""An agent that counts: it says `event` with N = 1, 2, 3, ... all the time, and answers each request with how far it is."""

import json
import sys
import threading
import time

lock = threading.Lock()
said = 0


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def count():
    global said
    while True:
        with lock:
            said += 1
            send({"method": "event", "params": {"N": said}})
        time.sleep(0.002)


for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "shutdown":
        break
    if "id" in message:
        with lock:
            send({"id": message["id"], "result": said})
    if message["method"] == "initialize":
        threading.Thread(target=count, daemon=True).start()
lock.acquire()
