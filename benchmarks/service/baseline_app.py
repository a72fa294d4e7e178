"""`python -m benchmarks.service.baseline_app PORT`: a FastAPI route that only reads its body.

Its time is the least that any FastAPI route takes on this machine.
"""

import socket
import sys

import uvicorn
from fastapi import FastAPI, Request, Response

app = FastAPI()


@app.get("/readyz")
async def readyz() -> Response:
    """Send an empty response."""
    return Response()


@app.post("/baseline")
async def read_body(request: Request) -> Response:
    """Read the body, and send an empty response."""
    await request.body()
    return Response()


def main(port: int, *, log: bool) -> None:
    """Serve until told to stop, with the options that the service gives uvicorn; `log` turns the access log on."""
    # With the protocol named, asyncio turns Nagle's algorithm off, as in the service.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(2048)
    config = uvicorn.Config(
        app,
        log_level="info" if log else "warning",
        access_log=log,
        server_header=False,
        headers=[("X-Content-Type-Options", "nosniff")],
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main(int(sys.argv[1]), log="--access-log" in sys.argv)
