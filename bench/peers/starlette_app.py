"""Plain Starlette: each viewer is an endpoint that waits, and a broadcast awaits each in turn."""

from __future__ import annotations

import sys

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

viewers: set[WebSocket] = set()


async def live(socket: WebSocket) -> None:
    await socket.accept()
    viewers.add(socket)
    try:
        while True:
            await socket.receive_text()
    except WebSocketDisconnect:
        viewers.discard(socket)


async def send(request: Request) -> PlainTextResponse:
    text = (await request.body()).decode()
    for socket in list(viewers):
        await socket.send_text(text)
    return PlainTextResponse("sent")


app = Starlette(routes=[WebSocketRoute("/live", live), Route("/send", send, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
