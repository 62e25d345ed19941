#!/usr/bin/env python3
"""An agent for Frontdesk, on frontdesk_agent.py, the module beside it. It shows what an agent can do:

    {"say": "hello"}            answers with the text, counted, and the customer's email
    {"data": true}              answers with the DATA that the customer gave when asking for the session
    {"count_to": 5}             takes a second a step, shows its progress, and stops when it is cancelled
    {"output": ["hel", "lo"]}   sends each element as a part of the answer ahead of it
    {"event": {"NAME": "x"}}    tells of an event
    {"log": "text"}             writes to the log
    {"fail": "no such room"}    answers with an error
    {"finish": "all done"}      answers, and ends the session with this reason

docs/AGENT-PROTOCOL.md has the whole protocol.
"""

import itertools

from frontdesk_agent import Agent, Failure

agent = Agent("agent.py")
handled = itertools.count(1)


def count_to(most, request):
    for step in range(most):
        agent.desk.progress(f"{step} of {most}", DONE=step, TOTAL=most)
        if request.wait_cancelled(1):
            raise Failure("cancelled")
    return {"counted_to": most}


@agent.request
def answer(request):
    asked = request.value if isinstance(request.value, dict) else {"say": request.value}
    if "fail" in asked:
        raise Failure(asked["fail"])
    if "data" in asked:
        return agent.session.data
    if "count_to" in asked:
        return count_to(asked["count_to"], request)
    for part in asked.get("output", []):
        request.output(part)
    if "event" in asked:
        agent.desk.event(**asked["event"])
    if "log" in asked:
        print(asked["log"])
    request.answer({"say": asked.get("say"), "handled": next(handled), "email": agent.session.email})
    if "finish" in asked:
        agent.desk.finish(asked["finish"])


agent.run()
