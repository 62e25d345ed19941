"""An agent that waits for a port and listens there as soon as it is free; asked for {"take": PORT}."""

import json
import socket
import sys
import threading
import time


def take(port):
    while True:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(("127.0.0.1", port))
        except OSError:
            listener.close()
            time.sleep(0.001)
            continue
        listener.listen()
        while True:
            listener.accept()


for line in sys.stdin:
    message = json.loads(line)
    if message["method"] == "shutdown":
        break
    if "id" in message:
        request = message["params"].get("REQUEST") if message["method"] == "request" else None
        if request and "take" in request:
            threading.Thread(target=take, args=(request["take"],), daemon=True).start()
        print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": "waiting"}), flush=True)
