"""The pages of a study: one port, no file of anybody else's, and no name that tells which model made a picture."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.middleware.trustedhost import TrustedHostMiddleware

from components.study import raters
from components.study.manifest import PICTURES, Manifest
from components.study.raters import Rater
from components.study.voting import Refused, Voting

logger = logging.getLogger("dp2o.study")

PAGE = Path(__file__).with_name("page")
MOST_BODY = 2048
"""Bytes of a request; ours have about 150."""
SECONDS_A_BODY = 10
MOST_CONNECTIONS = 128
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-store",
}
"""The address has the token: it must not leave with a referrer, nor stay in a shared cache."""
LOCAL = ("127.0.0.1", "localhost")


def app_of(folder: Path, manifest: Manifest, voting: Voting, hosts: Sequence[str]) -> FastAPI:
    """The application.

    Args:
        folder: of the study.
        hosts: names that a request may have in its Host header; others are refused, so that no page of another name
            that leads here can ask in a rater's browser.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)
    who = _Raters(folder)

    @app.middleware("http")
    async def with_headers(request: Request, call_next: Callable[[Request], Any]) -> Response:
        response: Response = await call_next(request)
        for name, value in HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.get("/r/{token}/")
    def page(token: str) -> HTMLResponse:
        who(token)
        return HTMLResponse((PAGE / "page.html").read_text(encoding="utf-8"))

    @app.get("/{name}")
    def part(name: Literal["page.js", "page.css"]) -> FileResponse:
        return FileResponse(PAGE / name)

    @app.get("/r/{token}/state")
    def state(token: str) -> JSONResponse:
        return JSONResponse(voting.state(who(token)))

    @app.get("/r/{token}/{number}/{which}.png")
    def picture(token: str, number: int, which: Literal["left", "right", "lr"]) -> Response:
        task = voting.task(who(token), number)
        if task is None:
            raise HTTPException(404, "no picture of this rater's")
        comparison = manifest.by_id[task.comparison]
        side = comparison.first if (which == "left") == (task.left == "first") else comparison.second
        stem = comparison.lr if which == "lr" else side.picture
        # The bytes alone: a file's date, or a tag made of it, would tell which pictures were made together.
        content = (folder / PICTURES / f"{stem}.png").read_bytes()
        return Response(content, media_type="image/png", headers={"cache-control": "private, max-age=3600"})

    @app.post("/r/{token}/act")
    async def act(token: str, request: Request) -> JSONResponse:
        rater = await asyncio.to_thread(who, token)
        if request.headers.get("content-type", "").partition(";")[0].strip() != "application/json":
            raise HTTPException(415, "send application/json")
        body = await _body(request)
        try:
            return JSONResponse(await asyncio.to_thread(voting.act, rater, body))
        except Refused as refused:
            present = await asyncio.to_thread(voting.state, rater)
            return JSONResponse({"message": str(refused), "state": present}, refused.status)

    return app


class _Raters:
    """Raters by their tokens; who is invited while the study is served is let in."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, token: str) -> Rater:
        """Raises HTTPException (404) for nobody's token."""
        rater = raters.of_token(raters.read(self._folder), token)
        if rater is None:
            raise HTTPException(404, "this link is nobody's: ask who invited you for a new one")
        return rater


async def _body(request: Request) -> bytes:
    """Raises HTTPException where it is long (413) or slow (408)."""
    content = b""
    try:
        async with asyncio.timeout(SECONDS_A_BODY):
            async for part in request.stream():
                content += part
                if len(content) > MOST_BODY:
                    raise HTTPException(413, f"more than {MOST_BODY} bytes")
    except TimeoutError as error:
        raise HTTPException(408, f"more than {SECONDS_A_BODY} s") from error
    return content


def server_of(app: FastAPI, host: str, port: int) -> uvicorn.Server:
    """A server that writes no address into a log: they have tokens."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            access_log=False,
            server_header=False,
            log_level="warning",
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=5,
        )
    )
