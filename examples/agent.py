#!/usr/bin/env python3
"""An agent for Frontdesk with nothing but Python's standard library.

It answers requests in threads, several at once, and shows what an agent can do:

    {"say": "hello"}            answers with the text, counted, and the customer's email
    {"data": true}              answers with the DATA that the customer gave when asking for the session
    {"count_to": 5}             takes a second a step, shows its progress, and stops when it is cancelled
    {"fail": "no such room"}    answers with an error
    {"finish": "all done"}      answers, and ends the session with this reason

docs/AGENT-PROTOCOL.md has the whole protocol.
"""

import json
import sys
import threading

# stdout is the protocol: one message a line, and never two threads in one line.
out = threading.Lock()
handled_lock = threading.Lock()
handled = 0


def send(message):
    line = json.dumps({"jsonrpc": "2.0", **message})
    with out:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def tell(method, **params):
    send({"method": method, "params": params})


class Failed(Exception):
    """What the customer asked for can't be done; the text is the answer."""


class Session:
    """What `initialize` says."""

    def __init__(self, params):
        self.meta = params["META_DATA"]
        if "SESSION_DATA_FILE" in params:
            # DATA above 1 MiB comes as a file that is there until the session ends.
            with open(params["SESSION_DATA_FILE"], encoding="utf-8") as file:
                self.data = json.load(file)
        else:
            self.data = params["SESSION_DATA"]


def count_to(most, cancelled):
    for step in range(most):
        tell("progress", TEXT=f"{step} of {most}", DONE=step, TOTAL=most)
        if cancelled.wait(timeout=1):
            raise Failed("cancelled")
    return most


def handle(session, request, cancelled):
    global handled
    if not isinstance(request, dict):
        request = {"say": request}
    if "fail" in request:
        raise Failed(request["fail"])
    if "data" in request:
        return session.data
    if "count_to" in request:
        return {"counted_to": count_to(request["count_to"], cancelled)}
    with handled_lock:
        handled += 1
        return {"say": request.get("say"), "handled": handled, "email": session.meta["EMAIL"]}


def answer(session, id, request, cancelled, in_flight):
    try:
        send({"id": id, "result": handle(session, request, cancelled)})
    except Failed as error:
        send({"id": id, "error": {"code": -32000, "message": str(error)}})
    except Exception as error:
        # stderr is the log.
        print(f"request {id} failed: {error!r}", file=sys.stderr, flush=True)
        send({"id": id, "error": {"code": -32603, "message": "internal error"}})
    finally:
        in_flight.pop(id, None)
    if isinstance(request, dict) and "finish" in request:
        tell("finished", OUTCOME="completed", REASON=request["finish"])


def main():
    session = None
    in_flight = {}
    for line in sys.stdin:
        message = json.loads(line)
        method, id, params = message["method"], message.get("id"), message.get("params", {})
        if method == "initialize":
            session = Session(params)
            send({"id": id, "result": {"name": "agent.py"}})
        elif method == "request":
            cancelled = in_flight[id] = threading.Event()
            arguments = (session, id, params["REQUEST"], cancelled, in_flight)
            threading.Thread(target=answer, args=arguments, daemon=True).start()
        elif method == "cancel":
            if params["ID"] in in_flight:
                in_flight[params["ID"]].set()
        elif method == "ping":
            send({"id": id, "result": {}})
        elif method == "shutdown":
            break
    # `shutdown`, or the end of stdin because the server is gone: either way it is over.


main()
