"""The agent of the scene for the pictures. Its session's DATA says what it is to look like:

    {"progress": "..", "log": ["..", ".."]}   what it tells of itself once it is ready
    {"slow": 60}                              how many seconds it takes to get ready
    {"crash": 2, "why": ".."}                 after how many seconds it crashes, and with which last words
"""

import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../../examples"))
from frontdesk_agent import Agent  # noqa: E402

agent = Agent("agent.py")


def crash(why):
    print(why, file=sys.stderr, flush=True)
    os._exit(1)


@agent.initialize
def prepare(session):
    data = session.data
    for line in data.get("log", []):
        agent.desk.log(line)
    if "progress" in data:
        agent.desk.progress(data["progress"])
    time.sleep(data.get("slow", 0))
    if "crash" in data:
        threading.Timer(data["crash"], crash, [data["why"]]).start()


@agent.request
def answer(request):
    words = request.value if isinstance(request.value, str) else "this"
    said = f"You asked: “{words}” Here is a first draft of the itinerary. "
    for part in [said, "Two nights in Lisbon, ", "then the early train to Porto."]:
        request.output(part)
        time.sleep(0.2)
    return {"nights": 4, "trains": 1, "ready": True}


agent.run()
