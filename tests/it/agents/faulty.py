"""An agent that misbehaves as its argument says, at its start or when it is asked to.

`at-start FAULT` does it instead of answering `initialize`; `on-request` answers each request {"do": FAULT} by doing it,
and every other one with what it was asked, so that one script serves the faulty session and its neighbour alike.
`hold-ping` is `on-request`, makes a file `pinged` when it is pinged, and answers once there is a file `answer`.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import time


def write(data):
    while data:
        data = data[os.write(1, data):]


def send(message):
    write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def for_ever():
    while True:
        time.sleep(60)


def ignore_sigterm(_):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def flood_stdout(_):
    while True:
        write(b"this is no message\n" * 1000)


def flood_progress(_):
    line = b'{"jsonrpc":"2.0","method":"progress","params":{"TEXT":"busy"}}\n' * 100
    while True:
        write(line)


def flood_stderr(_):
    for _ in range(2000):
        os.write(2, b"lots of log\n" * 1000)


def nest_directories(id):
    # In a child, whose working directory becomes deeper than any path can name.
    if os.fork() == 0:
        os.symlink("/", "root")
        for _ in range(15000):
            os.mkdir("d")
            os.symlink("/", "d/root")
            os.chdir("d")
        os._exit(0)
    os.wait()
    send({"id": id, "result": "nested"})


def leave_a_daemon(_):
    # Two forks and a session of its own: neither the parent nor the process group leads to it.
    sleep = [sys.executable, "-c", "import os, time; os.fork() or (os.setsid(), os.fork() or time.sleep(300))"]
    subprocess.run(sleep, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def fork_again_and_again(_):
    if os.fork() == 0:
        os.setsid()
        while os.fork() == 0:
            os.setsid()
            time.sleep(0.02)
        os._exit(0)


def run_aside(task):
    """Runs a task in a child, and returns once the child has begun."""
    has_begun, begin = os.pipe()
    if os.fork() == 0:
        task(begin)
        for_ever()
    os.read(has_begun, 1)


def eat_memory_in_children(_):
    def eat(begin):
        eaten = bytearray(b"x") * 80_000_000
        os.write(begin, b"x")
        for_ever()
        del eaten

    for _ in range(2):
        run_aside(eat)
    for_ever()


def eat_time(_):
    while True:
        pass


def fork_many(_):
    for _ in range(8):
        run_aside(lambda begin: os.write(begin, b"x"))
    for_ever()


def eat_files(id):
    eaten = []
    try:
        while True:
            eaten.append(open("/dev/null"))
    except OSError as error:
        del eaten
        send({"id": id, "result": errno.errorcode[error.errno]})


def detach(id):
    """Leaves a process that has no parent, group, mark or manners in common with this one."""
    code = "import os, time; os.write(2, b''); time.sleep(300)"
    told, tell = os.pipe()
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            os.write(tell, b"%d" % os.getpid())
            os.execve(sys.executable, [sys.executable, "-c", code], {})
        os._exit(0)
    os.wait()
    send({"id": id, "result": int(os.read(told, 20))})


def nest_deeply(id):
    """Says too much in each message that is kept, then something that is taken, and answers too much."""
    deep = b"[" * 501 + b"]" * 501
    for method in (b"event", b"output", b"progress"):
        params = b'{"TEXT":"too deep","ID":%d,"PART":%s}' % (id, deep)
        write(b'{"jsonrpc":"2.0","method":"%s","params":%s}\n' % (method, params))
    write(b'{"jsonrpc":"2.0","method":"event","params":%s}\n' % deep[1:-1])
    write(b'{"jsonrpc":"2.0","id":%d,"result":%s}\n' % (id, deep))


FAULTS = {
    "nest-deeply": nest_deeply,
    "nothing": lambda _: for_ever(),
    "exit": lambda _: (os.write(2, b"no fuel\n"), os._exit(3)),
    "exit-0": lambda _: os._exit(0),
    "crash": lambda _: os.kill(os.getpid(), signal.SIGSEGV),
    "hang": lambda _: os.kill(os.getpid(), signal.SIGSTOP),
    "stop-reading": lambda _: for_ever(),
    "exit-later": lambda id: (send({"id": id, "result": "soon"}), os.write(2, b"no fuel\n"), os._exit(3)),
    "hang-later": lambda id: (send({"id": id, "result": "soon"}), os.kill(os.getpid(), signal.SIGSTOP)),
    "eat-memory": lambda _: (held.append(bytearray(b"x") * 200_000_000), for_ever()),
    "eat-memory-in-children": eat_memory_in_children,
    "eat-time": eat_time,
    "fork-many": fork_many,
    "eat-files": eat_files,
    "detach": detach,
    "answer-long": lambda id: send({"id": id, "result": "x" * 600_000}),
    "junk": lambda _: write(b"hello, I am not JSON\n"),
    "flood-stdout": flood_stdout,
    "flood-progress": flood_progress,
    "flood-stderr": flood_stderr,
    "nest-directories": nest_directories,
    "daemon": leave_a_daemon,
    "fork-again-and-again": fork_again_and_again,
    "ignore-sigterm": ignore_sigterm,
    "answer-twice": lambda id: send({"id": id, "result": "once"}),
    "answer-nobody": lambda _: send({"id": 4711, "result": "what?"}),
    "half-a-line": lambda id: (write(b'{"jsonrpc":"2.0","id":%d,"result":"ha' % id), os._exit(0)),
    "huge-line": lambda _: write(b'"' + b"x" * 100_000_000 + b'"\n'),
    "not-utf8": lambda _: write(b'{"jsonrpc":"2.0","method":"log","params":{"TEXT":"\xff"}}\n'),
    "close-stdout": lambda _: (os.close(1), for_ever()),
    "finish-and-exit": lambda id: (
        send({"id": id, "result": "last"}),
        send({"method": "finished", "params": {"OUTCOME": "completed", "REASON": "all done"}}),
        os._exit(0),
    ),
    "finish-and-linger": lambda id: (
        send({"id": id, "result": "last"}),
        send({"method": "finished", "params": {"OUTCOME": "failed", "REASON": "out of fuel"}}),
    ),
    "wait-for-cancel": lambda _: send({"method": "progress", "params": {"TEXT": "waiting"}}),
    "long-answer": lambda id: write(b'{"jsonrpc":"2.0","id":%d,"result":"%s"}\n' % (id, b"x" * 10_000_000)),
    "directory": lambda id: send({"id": id, "result": os.getcwd()}),
    "data": lambda id: send({"id": id, "result": data()}),
    "cancels": lambda id: send({"id": id, "result": cancels}),
}
SILENT = {"nest-deeply", "nest-directories", "exit-later", "hang-later", "eat-files", "detach", "answer-long", "wait-for-cancel", "long-answer", "directory", "data", "cancels", "finish-and-linger"}

initialize = {}
cancels = []
held = []


def data():
    if "SESSION_DATA_FILE" in initialize:
        with open(initialize["SESSION_DATA_FILE"], encoding="utf-8") as file:
            return {"from": "file", "bytes": len(json.dumps(json.load(file)))}
    return {"from": "line", "bytes": len(json.dumps(initialize["SESSION_DATA"]))}


def main(mode, fault=None):
    for line in sys.stdin:
        message = json.loads(line)
        method, id, params = message["method"], message.get("id"), message.get("params", {})
        if method == "initialize":
            initialize.update(params)
            if mode == "at-start":
                FAULTS[fault](id)
            send({"id": id, "result": {}})
        elif method == "request":
            request = params["REQUEST"]
            fault = request.get("do") if isinstance(request, dict) else None
            if fault:
                FAULTS[fault](id)
            if fault not in SILENT:
                send({"id": id, "result": request})
        elif method == "ping":
            if mode == "hold-ping":
                open("pinged", "w").close()
                while not os.path.exists("answer"):
                    time.sleep(0.01)
            send({"id": id, "result": {}})
        elif method == "cancel":
            cancels.append(params["ID"])
        elif method == "shutdown" and signal.getsignal(signal.SIGTERM) == signal.SIG_IGN:
            for_ever()
        elif method == "shutdown":
            return


main(*sys.argv[1:])
