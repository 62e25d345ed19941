#!/usr/bin/env python3
"""A supervisor for Frontdesk with nothing but Python's standard library: one process that serves any number of sessions.

    python3 examples/supervisor.py [PORT]        5600 unless said otherwise, on this machine only

Each message is a POST of one JSON-RPC message; the headers say which session it is for, and under which epoch. It
understands the same requests as agent.py:

    {"say": "hello"}            answers with the text, counted, and the customer's email
    {"data": true}              answers with the DATA that the customer gave when asking for the session
    {"count_to": 5}             takes a second a step, shows its progress, and stops when it is cancelled
    {"fail": "no such room"}    answers with an error
    {"finish": "all done"}      answers, and ends the session with this reason

docs/AGENT-PROTOCOL.md, section "HTTP agents", has the whole contract.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

UNKNOWN_SESSION = -32001

# The sessions that are served here, by their id: at most one epoch of each.
sessions = {}
sessions_lock = threading.Lock()


class Failed(Exception):
    """What was asked for can't be done; the text is the answer."""

    code = -32000


class Unknown(Failed):
    """The session is not served here, or not under this epoch: Frontdesk starts it anew."""

    code = UNKNOWN_SESSION


class Call:
    """One request, so that it can be cancelled, and so that its repetition is not a second request."""

    def __init__(self):
        self.cancelled = threading.Event()
        self.answered = threading.Event()
        self.answer = None


class Session:
    def __init__(self, epoch, params):
        self.epoch = epoch
        self.email = params["META_DATA"]["EMAIL"]
        self.data = params["SESSION_DATA"]
        self.handled = 0
        self.calls = {}
        self.lock = threading.Lock()

    def call(self, id):
        """The call with this number, and whether it is its first time."""
        with self.lock:
            is_first = id not in self.calls
            if is_first:
                self.calls[id] = Call()
                # Repetitions come within moments: the answers of long ago need not be kept.
                for old in [old for old, call in list(self.calls.items())[:-1000] if call.answered.is_set()]:
                    del self.calls[old]
            return self.calls[id], is_first

    def cancel(self, id=None):
        with self.lock:
            for number, call in self.calls.items():
                if id is None or number == id:
                    call.cancelled.set()


def initialize(id, epoch, params):
    with sessions_lock:
        before = sessions.get(id)
        if before and before.epoch > epoch:
            raise Unknown("a later epoch of this session is served here")
        # The same epoch again is a repetition.
        if not before or before.epoch < epoch:
            sessions[id] = Session(epoch, params)
    if before and before.epoch < epoch:
        before.cancel()


def find(id, epoch):
    with sessions_lock:
        session = sessions.get(id)
    if not session or session.epoch != epoch:
        raise Unknown("this session is not served here")
    return session


def end(id, epoch):
    with sessions_lock:
        session = sessions.get(id)
        if session and session.epoch == epoch:
            del sessions[id]
            session.cancel()


def handle(session, request, cancelled, tell):
    if not isinstance(request, dict):
        request = {"say": request}
    if "fail" in request:
        raise Failed(request["fail"])
    if "data" in request:
        return session.data
    if "count_to" in request:
        for step in range(request["count_to"]):
            tell("progress", TEXT=f"{step} of {request['count_to']}")
            if cancelled.wait(timeout=1):
                raise Failed("cancelled")
        return {"counted_to": request["count_to"]}
    if "finish" in request:
        # Over HTTP it comes before the answer: what follows the answer is not read.
        tell("finished", OUTCOME="completed", REASON=request["finish"])
    with session.lock:
        session.handled += 1
        return {"say": request.get("say"), "handled": session.handled, "email": session.email}


class Handler(BaseHTTPRequestHandler):
    # Connections stay open between messages.
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_POST(self):
        message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        method, id, params = message["method"], message.get("id"), message.get("params", {})
        session, epoch = self.headers["Frontdesk-Session"], int(self.headers["Frontdesk-Epoch"])
        if id is None:
            self.notified(method, session, epoch, params)
            self.send_response(204)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.write({"id": id, **self.answer(method, id, session, epoch, params)})
        self.wfile.write(b"0\r\n\r\n")

    def answer(self, method, id, session, epoch, params):
        try:
            if method == "initialize":
                initialize(session, epoch, params)
                return {"result": {"name": "supervisor.py"}}
            served = find(session, epoch)
            if method == "ping":
                return {"result": {}}
            if method == "request":
                return self.relayed(served, id, params["REQUEST"])
            return {"error": {"code": -32601, "message": f"no method {method}"}}
        except Failed as error:
            return {"error": {"code": error.code, "message": str(error)}}

    def relayed(self, session, id, request):
        call, is_first = session.call(id)
        if not is_first:
            call.answered.wait()
            return call.answer
        try:
            call.answer = {"result": handle(session, request, call.cancelled, self.tell)}
        except Failed as error:
            call.answer = {"error": {"code": error.code, "message": str(error)}}
        except OSError:
            # Whoever asked has closed the connection.
            call.answer = {"error": {"code": -32000, "message": "cancelled"}}
            raise
        except Exception as error:
            print(f"request {id} failed: {error!r}", file=sys.stderr, flush=True)
            call.answer = {"error": {"code": -32603, "message": "internal error"}}
        finally:
            call.answered.set()
        return call.answer

    def notified(self, method, session, epoch, params):
        if method == "shutdown":
            end(session, epoch)
        elif method == "cancel":
            try:
                find(session, epoch).cancel(params["ID"])
            except Unknown:
                pass

    def tell(self, method, **params):
        self.write({"method": method, "params": params})

    def write(self, message):
        line = json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n"
        self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        # A caller that went away is nothing to talk about.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


def main(port="5600"):
    server = Server(("127.0.0.1", int(port)), Handler)
    print(f"serving at 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()


main(*sys.argv[1:])
