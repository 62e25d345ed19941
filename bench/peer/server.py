"""The seed's contract as a small Python service, to compare with: FastAPI on uvicorn with uvloop, one process, all in
memory. It makes no promise that Frontdesk makes: nothing is stored, no agent is started, no token is asked for.

    server.py CREDENTIAL_SERVER_ADDRESS

The first line of its output is its address.
"""

import asyncio
import json
import logging
import socket
import sys
from urllib.parse import quote

import aiohttp
import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse


class CustomerServerService:
    def __init__(self, credential_server):
        self.credential_server = credential_server
        self.sessionCreationRequests = {}
        self.sessionStatus = {}
        self.CateringRequestLock = asyncio.Lock()
        self.client = None

    def ConfigureHttpRoutes(self, app):
        app.post("/requestSessionCreation")(self.handleSessionCreationRequest)
        app.get("/sessionSTATUS")(self.status)

    async def is_registered(self, email, password, persona):
        message = json.dumps({"EMAIL": email, "PASSWORD": password, "TYPE": persona})
        if self.client is None:
            self.client = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=256))
        url = f"http://{self.credential_server}/check_node?message={quote(message)}"
        async with self.client.get(url) as response:
            return response.status == 200 and (await response.json())["MESSAGE"] == "REGISTERED"

    async def handleSessionCreationRequest(self, request: Request):
        body = await request.json()
        email, persona = body["EMAIL"], body["PERSONA_TYPE"]
        if email in self.sessionStatus:
            return JSONResponse({"MESSAGE": "SESSION_ALREADY_RUNNING"}, 400)
        if not await self.is_registered(email, body["PASSWORD"], persona):
            return JSONResponse({"MESSAGE": "INVALID_EMAIL_OR_PASSWORD"}, 401)
        async with self.CateringRequestLock:
            self.sessionCreationRequests[email] = body["DATA"]
            self.sessionStatus[email] = (persona, "PENDING")
        return JSONResponse({"MESSAGE": "SESSION_CREATION_REQUEST_ACCEPTED"})

    async def status(self, message: str):
        asked = json.loads(message)
        persona, status = self.sessionStatus.get(asked["EMAIL"], (None, "IDLE"))
        return JSONResponse({"MESSAGE": status if persona == asked["PERSONA_TYPE"] else "IDLE"})


def main():
    app = FastAPI(openapi_url=None)
    CustomerServerService(sys.argv[1]).ConfigureHttpRoutes(app)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    host, port = listener.getsockname()
    print(f"{host}:{port}", flush=True)
    logging.disable(logging.INFO)
    config = uvicorn.Config(app, access_log=False, log_level="warning", lifespan="off")
    uvicorn.Server(config).run(sockets=[listener])


main()
