"""A service that misbehaves: at `initialize` as it was told by GET /behave/FAULT, at a request {"do": FAULT} by doing it.

Every other request is answered with what it asked. GET /seen tells all messages so far. Started with a port, or 0.
"""

import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

at_start = None
is_sick = False
seen = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        global at_start
        if self.path.startswith("/behave/"):
            at_start = self.path.removeprefix("/behave/")
        self.answer(json.dumps(seen))

    def do_POST(self):
        global is_sick
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method, id, params = message["method"], message.get("id"), message.get("params", {})
        seen.append(
            {
                "method": method,
                "id": id,
                "params": params,
                "path": self.path,
                "type": self.headers["Content-Type"],
                "session": self.headers["Frontdesk-Session"],
                "epoch": self.headers["Frontdesk-Epoch"],
            }
        )
        if id is None:
            return self.answer("whatever", status=202)
        if method == "initialize":
            is_sick = False
        if is_sick:
            return self.status(500)
        request = params.get("REQUEST")
        fault = at_start if method == "initialize" else request.get("do") if isinstance(request, dict) else None
        if fault in FAULTS:
            return FAULTS[fault](self, id)
        self.answer(json.dumps({"jsonrpc": "2.0", "id": id, "result": request}, indent=2))

    def answer(self, body, status=200, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(length or len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def status(self, status):
        self.send_response(status)
        self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def close(self):
        self.close_connection = True

    def fall_sick(self):
        global is_sick
        is_sick = True
        self.status(500)

    def log_message(self, *_):
        pass


def message(id, **members):
    return json.dumps({"jsonrpc": "2.0", "id": id, **members})


FAULTS = {
    "hang": lambda service, id: threading.Event().wait(),
    "garbage": lambda service, id: service.answer("<html>hello</html>"),
    "500": lambda service, id: service.status(500),
    "redirect": lambda service, id: service.status(302),
    "wrong-id": lambda service, id: service.answer(message(4711, result=1)),
    "nothing": lambda service, id: service.answer("\n\n"),
    "cut": lambda service, id: (service.answer('{"jsonrpc":"2.0","i', length=100), service.close()),
    "close": lambda service, id: service.close(),
    "huge": lambda service, id: service.answer(message(id, result="x" * 100_000)),
    "error": lambda service, id: service.answer(message(id, error={"code": -32000, "message": "no fuel"})),
    "unknown": lambda service, id: service.answer(message(id, error={"code": -32001, "message": "who is that?"})),
    "sick": lambda service, id: service.fall_sick(),
    "exit": lambda service, id: os._exit(1),
}

server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
server.daemon_threads = True
print(f"serving at 127.0.0.1:{server.server_port}", flush=True)
server.serve_forever()
