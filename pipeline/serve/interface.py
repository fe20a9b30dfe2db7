"""The JSON API's schema: what the server answers, as pydantic models, and its OpenAPI document."""

from typing import Literal

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from dferc.core import VERSION
from dferc.results.emotions import Emotions

State = Literal["waiting", "running", "done", "failed"]


class ApiError(BaseModel):
    """Any answer with a status of 400 or above."""

    error: str = Field(description="what was found, what was expected, and what to do")


class StepStatus(BaseModel):
    """One step of a job."""

    name: str
    share: float = Field(description="share that is done, 0 to 1")
    seconds: float = Field(description="since it began")
    seconds_left: float | None = Field(description="estimated from its share; null while nothing is known")


class JobStatus(BaseModel):
    """A job."""

    id: str = Field(description="random; who knows it can read and delete the job")
    name: str = Field(description="name of the medium")
    state: State
    position: int | None = Field(description="place in the queue, from 1; null unless it waits")
    message: str = Field(description="why it failed; empty otherwise")
    steps: list[StepStatus] = Field(description="steps that have begun")
    seconds_to_deletion: float | None = Field(description="null until it has ended")
    files: dict[str, str] = Field(description="path of each file of the result by its name, once the job is done")


class QueueStatus(BaseModel):
    """Load of the server."""

    running: int
    waiting: int
    slots: int = Field(description="jobs that run at a time")


class LoadedModel(BaseModel):
    """The model of the server."""

    name: str
    corpus: str = Field(description="corpus that it was trained on")
    classes: list[str]
    modalities: list[str]
    synthetic: list[str] = Field(
        description="sentences on synthetic or simulated training data; empty where all is real"
    )
    speech_problem: str = Field(description="why there is no speech recognition; empty where there is")


class Health(BaseModel):
    """State of the server, for people and for load balancers."""

    status: Literal["ok"] = "ok"
    version: str = VERSION
    model: LoadedModel
    queue: QueueStatus
    limit_bytes: int = Field(description="most bytes of an upload")
    keep_minutes: float = Field(description="minutes after which a job that has ended is deleted")


def openapi() -> dict:
    """Return the OpenAPI 3.1 document of the API."""
    _, schemas = models_json_schema(
        [(model, "serialization") for model in (ApiError, JobStatus, Health, Emotions)],
        ref_template="#/components/schemas/{model}",
    )
    job = {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}
    file = {"type": "string", "format": "binary"}
    text = {"type": "string"}
    form = {"media": file, "transcript": file, "language": text}
    binary = {"description": "the file", "content": {"application/octet-stream": {"schema": file}}}
    query = [{"name": name, "in": "query", "schema": text} for name in ("name", "language")]
    body = {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": {"type": "object", "properties": form, "required": ["media"]}},
            "application/octet-stream": {"schema": file},
        },
    }
    upload = _operation(
        "Upload a medium and start a job", _json("JobStatus"), "201", ("400", "403", "408", "413", "503", "507")
    )
    status = _operation("State of a job", _json("JobStatus"), failures=("404",), parameters=[job])
    deleted = {"description": "deleted"}
    delete = _operation("End a job and delete all of it", deleted, "204", ("403", "404"), parameters=[job])
    result = _operation("The result", _json("Emotions"), failures=("404", "409"), parameters=[job])
    name = {"name": "file", "in": "path", "required": True, "schema": text}
    last = {"name": "delete", "in": "query", "schema": {"type": "boolean"}}
    then = "`delete=true` deletes the job once the whole file was sent"
    summary = f"A file of the result, by its name in `files` of the job; {then}"
    download = _operation(summary, binary, failures=("404", "409"), parameters=[job, name, last])
    return {
        "openapi": "3.1.0",
        "info": {"title": "dferc-serve", "version": VERSION, "description": __doc__},
        "paths": {
            "/health": {"get": _operation("State of the server", _json("Health"))},
            "/api/jobs": {"post": upload | {"requestBody": body, "parameters": query}},
            "/api/jobs/{id}": {"get": status, "delete": delete},
            "/api/jobs/{id}/emotions.json": {"get": result},
            "/api/jobs/{id}/{file}": {"get": download},
        },
        "components": {"schemas": schemas["$defs"]},
    }


def _json(model: str) -> dict:
    reference = {"$ref": f"#/components/schemas/{model}"}
    return {"description": model, "content": {"application/json": {"schema": reference}}}


def _operation(summary: str, answer: dict, success: str = "200", failures: tuple[str, ...] = (), **more) -> dict:
    return {"summary": summary, "responses": {success: answer, **dict.fromkeys(failures, _json("ApiError"))}, **more}
