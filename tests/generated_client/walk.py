"""Walks through a session's life with a client that a generator made of /openapi.json.

Every answer must be parsed into the type that the document names; `detailed` calls give it beside the status.
"""

import os
import sys
from uuid import UUID

from desk import AuthenticatedClient, Client
from desk.api.events_and_logs import follow_session
from desk.api.operators import list_tokens
from desk.api.sessions import create_session, get_session, initialize_session, list_sessions, send_request, stop_session
from desk.api.the_server import get_overview, get_readiness
from desk.models import AgentRequest, EventList, NewSession, OperatorsSessionPage, Overview, Problem, Session

base, email, password, operator = sys.argv[1], os.environ["EMAIL"], os.environ["PASSWORD"], os.environ["OPERATOR"]
anybody = Client(base_url=base)
assert get_readiness.sync(client=anybody).status == "ready"

wish = NewSession(email=email, password=password, persona="CUSTOMERS")
created = create_session.sync(client=anybody, body=wish)
again = create_session.sync(client=anybody, body=wish)
assert isinstance(again, Problem) and again.code == "session_already_running", again

customer = AuthenticatedClient(base_url=base, token=created.token)
identity = UUID(str(created.id))
running = initialize_session.sync(identity, client=customer, wait="30s")
assert isinstance(running, Session) and running.phase == "RUNNING", running
assert get_session.sync(identity, client=customer).phase == "RUNNING"
answer = send_request.sync(identity, client=customer, body=AgentRequest(request={"say": "hello"}))
assert answer.response["echo"] == {"say": "hello"}, answer
# A client that accepts anything gets JSON that ends, not a stream that does not. The step to RUNNING may still be on its
# way to the log.
events = follow_session.sync(identity, client=customer)
assert isinstance(events, EventList) and [event.number for event in events.items][:2] == [1, 2], events

operators = AuthenticatedClient(base_url=base, token=operator)
sessions = list_sessions.sync(client=operators)
assert isinstance(sessions, OperatorsSessionPage) and sessions.items[0].phase == "RUNNING", sessions
assert isinstance(get_overview.sync(client=operators), Overview)
assert list_tokens.sync(client=operators).items

stopped = stop_session.sync(identity, client=customer)
assert isinstance(stopped, Session) and stopped.outcome == "stopped", stopped
