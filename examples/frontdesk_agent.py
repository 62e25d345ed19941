"""For authors of agents in Python: the agent's side of Frontdesk's protocol, in one file.

It needs Python 3.8 and nothing else: copy it beside your agent.

    from frontdesk_agent import Agent, Failure

    agent = Agent("greeter")

    @agent.request
    def answer(request):
        if request.value is None:
            raise Failure("what do you want?")
        return {"hello": agent.session.email, "you said": request.value}

    agent.run()

Each request is answered in a thread of its own, so that several run at once, and is answered exactly once: with what the
function returns, with the message of a `Failure`, or with "internal error" for any other exception, whose traceback goes
to the log. `ping`, `cancel`, `shutdown` and calls that are not known are seen to.

While `run()` runs, stdout belongs to the protocol: `print`, and child processes that print, write to stderr, which is the
agent's log.

docs/AGENT-PROTOCOL.md has the whole protocol.
"""

import json
import os
import sys
import threading
import time
import traceback
from typing import Any, BinaryIO, Callable, Dict, Optional, Tuple

__all__ = ["Agent", "Desk", "Failure", "Request", "Session"]

FAILED, UNKNOWN_METHOD, INTERNAL = -32000, -32601, -32603

# How long requests in flight may go on after `shutdown`: below the quarter of the usual `stop_grace` after which
# SIGTERM comes.
FAREWELL_SECONDS = 2.0


class Failure(Exception):
    """Something that can't be done. Its text is the answer: write it for the customer, without secrets."""


class Session:
    """The session that the agent serves.

    `email` is the customer's, `persona` the persona's name, `session_id` the same for all agents of the session. `epoch`
    counts them: give it to whatever you write to elsewhere, so that a late write of an older agent can be told from yours.
    `data` is the customer's DATA.
    """

    def __init__(self, params: Dict[str, Any]) -> None:
        meta = params["META_DATA"]
        self.email: str = meta["EMAIL"]
        self.persona: str = meta["PERSONA_TYPE"]
        self.session_id: str = meta["SESSION_ID"]
        self.epoch: int = meta["EPOCH"]
        self.data: Any = params.get("SESSION_DATA")
        if "SESSION_DATA_FILE" in params:
            # DATA above 1 MiB comes as a file that is there until the session ends.
            with open(params["SESSION_DATA_FILE"], encoding="utf-8") as file:
                self.data = json.load(file)


class Desk:
    """Tells the desk things; every thread may use it. If the desk is gone, what is told is lost."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        # Two threads never write into one line.
        self._lock = threading.Lock()

    def progress(self, text: str, **further: Any) -> None:
        """Says how far the agent is, in a few words; operators see the latest."""
        self._tell("progress", {"TEXT": text, **further})

    def event(self, **event: Any) -> None:
        """Says that something happened; it is kept as an event of the session."""
        self._tell("event", event)

    def log(self, text: str) -> None:
        """Writes a line to the session's log, as printing does."""
        self._tell("log", {"TEXT": text})

    def finish(self, reason: str, failed: bool = False) -> None:
        """Says that the work is done: the session ends. To be called after the last answer."""
        self._tell("finished", {"OUTCOME": "failed" if failed else "completed", "REASON": reason})

    def _tell(self, method: str, params: Any) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: Dict[str, Any]) -> None:
        # What JSON has no word for, such as NaN, raises a ValueError here, before anything is written.
        line = json.dumps({"jsonrpc": "2.0", **message}, allow_nan=False).encode("ascii") + b"\n"
        rest = memoryview(line)
        with self._lock:
            try:
                while rest:
                    rest = rest[os.write(self._descriptor, rest) :]
            except OSError:
                # The desk is gone, which the end of stdin tells, too.
                pass


class Request:
    """One request of the customer's, in `value`; `session` is the session's.

    `cancelled` becomes true once nobody waits for the answer: look at it now and then. `wait_cancelled(seconds)` sleeps,
    wakes at once when the request is cancelled, and says whether it was.
    """

    def __init__(self, id: int, value: Any, session: Optional[Session], desk: Desk) -> None:
        self.id = id
        self.value = value
        self.session = session
        self._cancelled = threading.Event()
        self._desk = desk
        self._lock = threading.Lock()
        self._answered = False

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._cancelled.is_set()

    def wait_cancelled(self, timeout: Optional[float] = None) -> bool:
        """Waits until the request is cancelled, at most `timeout` seconds, and says whether it is."""
        return self._cancelled.wait(timeout)

    def output(self, part: Any) -> None:
        """Sends a part of the answer ahead of it. After the answer it is dropped."""
        with self._lock:
            if not self._answered:
                self._desk._tell("output", {"ID": self.id, "PART": part})

    def answer(self, result: Any) -> None:
        """Answers at once, from any thread; what the function returns afterwards is ignored."""
        self._settle({"result": result})

    def fail(self, message: str, code: int = FAILED) -> None:
        """Answers at once with an error."""
        self._settle({"error": {"code": code, "message": message}})

    def _settle(self, answer: Dict[str, Any]) -> None:
        with self._lock:
            if not self._answered:
                self._desk._send({"id": self.id, **answer})
                self._answered = True


class Agent:
    """An agent: two functions, and `run()`.

    `session` and `desk` are there once the session is known.
    """

    desk: Desk
    session: Session

    def __init__(self, name: str) -> None:
        self.name = name
        self._prepare: Callable[[Session], Any] = lambda _: None
        self._answer: Optional[Callable[[Request], Any]] = None
        self._in_flight: Dict[int, Tuple[Request, threading.Thread]] = {}
        self._lock = threading.Lock()

    def initialize(self, function: Callable[[Session], Any]) -> Callable[[Session], Any]:
        """Decorates the function that prepares for the session. A `Failure` in it says why the agent can't start."""
        self._prepare = function
        return function

    def request(self, function: Callable[[Request], Any]) -> Callable[[Request], Any]:
        """Decorates the function that answers a request."""
        self._answer = function
        return function

    def run(self) -> None:
        """Serves until the desk says `shutdown` or closes stdin. To be called from the main thread."""
        self.desk = Desk(os.dup(1))
        os.dup2(2, 1)
        sys.stdout = sys.stderr
        self._serve(sys.stdin.buffer)
        self._say_goodbye()

    def _serve(self, lines: BinaryIO) -> None:
        for line in lines:
            if not line.strip():
                continue
            try:
                message = json.loads(line.decode("utf-8"))
                method, id, params = message["method"], message.get("id"), message.get("params") or {}
            except (ValueError, TypeError, KeyError, AttributeError):
                self.desk.log("a line that is no message")
                continue
            if method == "shutdown":
                return
            if method == "cancel":
                self._cancel(params.get("ID"))
            elif id is None:
                pass  # A notification of a later version.
            elif method == "initialize":
                self._initialize(id, params)
            elif method == "request":
                self._begin(id, params.get("REQUEST"))
            elif method == "ping":
                self.desk._send({"id": id, "result": {}})
            else:
                self.desk._send({"id": id, "error": {"code": UNKNOWN_METHOD, "message": "unknown method"}})

    def _initialize(self, id: int, params: Dict[str, Any]) -> None:
        call = Request(id, params, None, self.desk)

        def prepare(call: Request) -> Dict[str, str]:
            self.session = Session(call.value)
            self._prepare(self.session)
            return {"name": self.name}

        self._contain(prepare, call)

    def _begin(self, id: int, value: Any) -> None:
        request = Request(id, value, getattr(self, "session", None), self.desk)
        thread = threading.Thread(target=self._serve_request, args=(request,), daemon=True)
        with self._lock:
            self._in_flight[id] = (request, thread)
        thread.start()

    def _serve_request(self, request: Request) -> None:
        def answer(request: Request) -> Any:
            if self._answer is None:
                raise Failure("this agent answers no requests")
            return self._answer(request)

        try:
            self._contain(answer, request)
        finally:
            # Only what ends a thread without a word, such as `sys.exit()`, comes here unanswered.
            request.fail("the agent gave no answer", INTERNAL)
            with self._lock:
                del self._in_flight[request.id]

    def _contain(self, function: Callable[[Request], Any], request: Request) -> None:
        """Answers with what a function returns or raises."""
        try:
            request.answer(function(request))
        except Failure as failure:
            request.fail(str(failure))
        except Exception:
            traceback.print_exc()
            request.fail("internal error", INTERNAL)

    def _cancel(self, id: Any) -> None:
        with self._lock:
            request, _ = self._in_flight.get(id, (None, None))
        if request is not None:
            request._cancelled.set()

    def _say_goodbye(self) -> None:
        deadline = time.monotonic() + FAREWELL_SECONDS
        with self._lock:
            threads = [thread for _, thread in self._in_flight.values()]
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        sys.stderr.flush()
