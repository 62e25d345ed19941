"""A client as the seed's users wrote it: the standard library, JSON and pickle bodies."""

import json
import pickle
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

BASE, EMAIL, PASSWORD = sys.argv[1:]


def call(method, path, data=None, headers=None):
    request = urllib.request.Request(BASE + path, data=data, headers=headers or {}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def status(encode):
    message = json.dumps({"PERSONA_TYPE": "CUSTOMERS", "EMAIL": EMAIL})
    code, answer = call("GET", "/sessionSTATUS?" + encode(message))
    assert code == 200, answer
    return answer["MESSAGE"]


def quoted(message):
    return "message=" + urllib.parse.quote(message)


def as_form(message):
    return urllib.parse.urlencode({"message": message})


def raw(message):
    return "message=" + message.replace(" ", "").replace('"', "%22")


wish = {"EMAIL": EMAIL, "PASSWORD": PASSWORD, "PERSONA_TYPE": "CUSTOMERS", "DATA": {"n": [1, 2.5, None, "é"]}}
bodies = [(json.dumps(wish).encode(), "application/json")]
bodies += [(pickle.dumps(wish, protocol), "application/bytes") for protocol in range(6)]
encodings = [quoted, as_form, raw]

assert call("GET", "/serverRunning") == (200, {"MESSAGE": "SERVER_RUNNING"})
for n, (body, content_type) in enumerate(bodies):
    encode = encodings[n % len(encodings)]
    assert status(encode) == "IDLE"
    code, created = call("POST", "/requestSessionCreation", body, {"Content-Type": content_type})
    assert (code, created["MESSAGE"]) == (200, "SESSION_CREATION_REQUEST_ACCEPTED"), created
    assert status(encode) == "PENDING"
    # urllib sends a form's content type of its own accord.
    code, answer = call("POST", "/initializeSession", json.dumps({"EMAIL": EMAIL}).encode())
    assert (code, answer) == (200, {"MESSAGE": "SESSION_INITIALIZED"}), answer
    assert status(encode) == "RUNNING"
    assert call("PUT", "/handleSessionRequests") == (200, None)
    request = {"EMAIL": EMAIL, "REQUEST": {"é": [n]}, "TOKEN": created["TOKEN"]}
    code, answer = call("PUT", "/handleSessionRequests", json.dumps(request).encode())
    assert (code, answer["MESSAGE"]) == (200, "REQUEST_HANDLED"), answer
    assert answer["RESPONSE"]["echo"] == {"é": [n]}, answer
    headers = {"Authorization": "Bearer " + created["TOKEN"]}
    assert call("DELETE", "/v1/sessions/" + created["SESSION_ID"], headers=headers)[0] in (200, 202)
    for _ in range(3000):
        if status(encode) == "IDLE":
            break
        time.sleep(0.01)
    assert status(encode) == "IDLE"
