"""What no schema can say: which sessions and customers there are, and that nobody wants to wait for minutes.

Calls that must be refused stay as they were made, but for a path that is good.
"""

import itertools
import os
import re
import zlib

import schemathesis
from schemathesis.core.parameters import ParameterLocation

RUNNING, PENDING, STOPPED, ENDED = (
    os.environ[f"FRONTDESK_{phase}"] for phase in ("RUNNING", "PENDING", "STOPPED", "ENDED")
)

# What stands in the path of each call; of others any session, and now and then one that is not there.
PATHS = {
    "sendRequest": [RUNNING],
    "replaceSessionData": [PENDING],
    # What was stopped, removed or revoked would be missed by all other calls.
    "stopSession": [STOPPED, ENDED],
    "removeCustomer": ["gone@example.org"],
    "revokeToken": [os.environ["FRONTDESK_TOKEN_ID"]],
    "getCustomer": ["ada@example.org"],
    "setCustomerPassword": ["carl@example.org"],
    # The log of an ended session is gone.
    "getLogs": [RUNNING, PENDING],
}

CALLS = itertools.count()
WAIT = re.compile(r"[0-9]+(ms|s|m)")


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = case.operation.definition.raw["operationId"]
    if case.path_parameters and is_good(case, ParameterLocation.PATH):
        [(name, generated)] = case.path_parameters.items()
        places = PATHS.get(operation, [RUNNING, PENDING, ENDED, generated])
        case.path_parameters[name] = places[zlib.crc32(str(generated).encode()) % len(places)]
    query = case.query or {}
    # A wait that is good is as good when it is short, and a log that is followed has no end.
    if isinstance(query.get("wait"), str) and WAIT.fullmatch(query["wait"]):
        query["wait"] = "50ms"
    if operation == "getLogs" and str(query.get("follow")).lower() == "true":
        query["follow"] = "false"
    # A key that came before with another request is refused; this one is new, and as long as it was.
    key = case.headers.get("Idempotency-Key") if case.headers else None
    if key and is_good(case, ParameterLocation.HEADER):
        case.headers["Idempotency-Key"] = f"{next(CALLS)}{key}"[: max(len(key), 10)]
    if isinstance(case.body, dict) and is_good(case, ParameterLocation.BODY):
        case.body.update(BODIES.get(operation, {}))


BODIES = {
    # A good password with a persona that is not there is refused.
    "createSession": {
        "email": os.environ["FRONTDESK_EMAIL"],
        "password": os.environ["FRONTDESK_PASSWORD"],
        "persona": "CUSTOMERS",
    },
    # Only sessions that no other call needs.
    "stopSessions": {"persona": "OTHERS"},
    # Passwords that are easy to guess are refused.
    "addCustomer": {"password": "seven green lamps in a row"},
    "setCustomerPassword": {"password": "seven green lamps in a row"},
    "changePassword": {"new_password": "seven green lamps in a row"},
}


def is_good(case, location):
    """Whether this part of the call fits the document."""
    return case.meta is not None and not case.meta.is_negative_at(location)
