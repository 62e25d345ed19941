"""An agent that answers in parts: a request {"parts": [..], "hold": FILE} gets each part ahead as an `output`, then waits
until the file is there, and is answered with how many requests were handled. A cancel makes the file FILE.cancelled.

With a port as its argument, or 0, it is a service; its first line tells the port.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

lock = threading.Lock()
handled, held, cancelled = 0, {}, set()


def text(message):
    return (json.dumps({"jsonrpc": "2.0", **message}) + "\n").encode()


def handle(message, send):
    """Answers a message through `send`."""
    global handled
    method, id, params = message["method"], message.get("id"), message.get("params", {})
    if method == "cancel":
        cancelled.add(params["ID"])
        with open(held[params["ID"]] + ".cancelled", "w"):
            return
    if id is None:
        return
    if method != "request":
        return send(text({"id": id, "result": {}}))
    with lock:
        handled += 1
        number = handled
    request = params["REQUEST"]
    held[id] = request["hold"]
    for part in request["parts"]:
        send(text({"method": "output", "params": {"ID": id, "PART": part}}))
    while not os.path.exists(request["hold"]) and id not in cancelled:
        time.sleep(0.005)
    send(text({"id": id, "result": number}))


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.end_headers()
        try:
            handle(message, self.wfile.write)
        except BrokenPipeError:
            pass

    def log_message(self, *_):
        pass


def serve(port):
    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


def speak():
    def send(line):
        with lock:
            sys.stdout.buffer.write(line)
            sys.stdout.buffer.flush()

    for line in sys.stdin:
        message = json.loads(line)
        if message["method"] == "shutdown":
            os._exit(0)
        threading.Thread(target=handle, args=(message, send), daemon=True).start()


serve(int(sys.argv[1])) if len(sys.argv) > 1 else speak()
