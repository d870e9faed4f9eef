"""The page's server as an application: what is shown, what is sent, and what is answered."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from importlib import resources
from typing import Annotated, Any

from fastapi import Body, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from components.errors import BadInput
from components.serving.limited import JSON, Door, Limited
from components.serving.limits import ServingLimits
from components.studio import pictures
from components.studio.guard import Guard
from components.studio.options import Options
from components.studio.workroom import MOST_WAITING, Busy, Workroom
from components.upscale.encode import SAVE_OPTIONS

PHOTOS, JOBS = "/api/photos", "/api/jobs"
UPLOAD = "application/octet-stream"
"""No page of another site can send it unasked: a browser asks first for what is no form."""
MOST_OPTIONS = 4096
"""Bytes of what is asked for a photo."""
KINDS = {
    "studio.css": "text/css",
    "slider.css": "text/css",
    "studio.js": "text/javascript",
    "slider.js": "text/javascript",
}
PLACES = {"slider.css": "components.pages", "slider.js": "components.pages"}


def application(workroom: Workroom, about: Mapping[str, Any], limits: ServingLimits, host: str) -> Guard:
    """All of it.

    Args:
        about: what the page has to know of the model.
        limits: of photos.
        host: address that is listened on.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _files(app, dict(about))
    _photos(app, workroom)
    _jobs(app, workroom)
    _pictures(app, workroom)

    @app.exception_handler(HTTPException)
    async def told(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"message": error.detail}, error.status_code)

    @app.exception_handler(RequestValidationError)
    async def wrong(request: Request, error: RequestValidationError) -> JSONResponse:
        places = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
        return JSONResponse({"message": places}, HTTPStatus.BAD_REQUEST)

    larger = "the largest file that is taken: send a smaller photo, or start the studio with a larger --max-pixels"
    uploads = Door(PHOTOS, {UPLOAD: _anything}, limits.max_bytes, larger)
    orders = Door(JOBS, {JSON: _anything}, MOST_OPTIONS, "more than any settings of this page")
    return Guard(Limited(Limited(app, limits, uploads), limits, orders), host)


def _anything(body: bytes) -> None:
    """The decoder, and pydantic, look at it."""


def _files(app: FastAPI, about: dict[str, Any]) -> None:
    @app.get("/")
    def page() -> Response:
        content = (resources.files("components.studio") / "page" / "studio.html").read_text()
        return Response(content, media_type="text/html")

    @app.get("/page/{name}")
    def file(name: str) -> Response:
        if name not in KINDS:
            raise HTTPException(HTTPStatus.NOT_FOUND, "there is no such file")
        folder = resources.files(PLACES.get(name, "components.studio.page"))
        return Response((folder / name).read_text(), media_type=KINDS[name])

    @app.get("/api/about")
    def model() -> dict[str, Any]:
        return about | {"formats": list(SAVE_OPTIONS)}


def _photos(app: FastAPI, workroom: Workroom) -> None:
    @app.post(PHOTOS)
    def add(content: Annotated[bytes, Body(media_type=UPLOAD)]) -> dict[str, Any]:
        try:
            key, photo = workroom.add(content)
        except BadInput as problem:
            raise HTTPException(HTTPStatus.BAD_REQUEST, str(problem)) from problem
        height, width = photo.pixels.shape[:2]
        return {"id": key, "width": width, "height": height, "was": photo.was}


def _jobs(app: FastAPI, workroom: Workroom) -> None:
    @app.post(JOBS)
    def submit(options: Options) -> dict[str, Any]:
        try:
            return workroom.submit(options).as_json()
        except KeyError as error:
            raise HTTPException(HTTPStatus.NOT_FOUND, "the photo is no longer here: drop it again") from error
        except Busy as error:
            told = f"{MOST_WAITING} restorations are waiting already: try again later"
            raise HTTPException(HTTPStatus.TOO_MANY_REQUESTS, told) from error

    @app.get(JOBS + "/{key}")
    def job(key: str) -> dict[str, Any]:
        with _known():
            return workroom.job(key).as_json()

    @app.delete(JOBS + "/{key}")
    def give_up(key: str) -> dict[str, Any]:
        with _known():
            workroom.give_up(key)
            return workroom.job(key).as_json()


def _pictures(app: FastAPI, workroom: Workroom) -> None:
    @app.get(JOBS + "/{key}/view/{name}")
    def view(key: str, name: str) -> Response:
        with _known():
            return Response(pictures.view(workroom.job(key), name), media_type="image/png")

    @app.get(JOBS + "/{key}/thumbnail/{name}")
    def thumbnail(key: str, name: str) -> Response:
        with _known():
            return Response(pictures.thumbnail(workroom.job(key), name), media_type="image/png")

    @app.get(JOBS + "/{key}/result/{name}")
    def result(key: str, name: str) -> Response:
        with _known():
            return Response(pictures.result(workroom.job(key), name), media_type=UPLOAD)


@contextmanager
def _known() -> Iterator[None]:
    """What is looked for is there, or the answer is 404."""
    try:
        yield
    except (KeyError, FileNotFoundError) as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, "it is no longer here: restore the photo again") from error
