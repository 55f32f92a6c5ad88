"""A Kubeflow Pipelines server as the real client sees it: it takes what kfp-server-api's models hold, and nothing else."""

from __future__ import annotations

import contextlib
import email.parser
import email.policy
import http.server
import json
import re
import threading
import urllib.parse
from collections.abc import Iterator
from typing import Any, ClassVar

import kfp_server_api as models
import yaml

PAGE = 2
LISTS = {"pipelines": "pipeline", "versions": "pipeline_version", "experiments": "experiment"}


class Refusal(Exception):
    """Answered with an HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class FakeKfp:
    """The server's state. ``faults`` maps (method, path's end) to statuses that the next such requests are answered with.

    ``racing``: whatever is made, somebody else has just made (409). ``states``: what a run's polls find, one after the other.
    """

    def __init__(self, multi_user: bool = False, token: str | None = None, cookie: str | None = None) -> None:
        self.multi_user, self.token, self.cookie = multi_user, token, cookie
        self.namespaces, self.racing = {"team"}, False
        self.faults: dict[tuple[str, str], list[int]] = {}
        self.states = ["PENDING", "RUNNING", "SUCCEEDED"]
        self.things: dict[str, list[dict[str, Any]]] = {"pipelines": [], "versions": [], "experiments": []}
        self.runs: list[dict[str, Any]] = []
        self.schedules: list[dict[str, Any]] = []
        self.asked: list[str] = []

    def answer(self, method: str, path: str, query: dict[str, str], headers: Any, body: bytes) -> Any:
        self.asked.append(f"{method} {path}")
        self._admit(headers)
        for (faulty, end), statuses in self.faults.items():
            if method == faulty and path.endswith(end) and statuses:
                raise Refusal(statuses.pop(0), "out of order")
        if path == "/apis/v2beta1/healthz":
            return {"multi_user": self.multi_user, "pipeline_store": "database"}
        if path == "/apis/v2beta1/pipelines/upload_version":
            return self._upload(query, headers, body)
        if found := re.fullmatch(r"/apis/v2beta1/runs/([^/]+)", path):
            return self._state(found[1])
        kind = path.removeprefix("/apis/v2beta1/").split("/")
        if kind[0] == "pipelines" and kind[2:] == ["versions"] and method == "GET":
            return self._page("versions", query, {"pipeline_id": kind[1]})
        if kind in (["pipelines"], ["experiments"]):
            if method == "GET":
                self._allowed(query.get("namespace"))
                return self._page(kind[0], query, {"namespace": query.get("namespace")})
            return self._make(kind[0], json.loads(body))
        if method == "POST" and kind in (["runs"], ["recurringruns"]):
            return self._start(kind[0], json.loads(body))
        raise Refusal(404, "Not Found")

    def _admit(self, headers: Any) -> None:
        if self.token and headers["authorization"] != f"Bearer {self.token}":
            raise Refusal(401, "Request header error: there is no user identity header")
        if self.cookie and headers["Cookie"] != self.cookie:
            raise Refusal(302, "/dex/auth")

    def _allowed(self, namespace: str | None) -> None:
        if self.multi_user and not namespace:
            raise Refusal(400, "Invalid input error: a namespace cannot be empty in multi-user mode")
        if self.multi_user and namespace not in self.namespaces:
            raise Refusal(403, f"User 'me' is not authorized in namespace {namespace}")

    def _page(self, what: str, query: dict[str, str], where: dict[str, Any]) -> Any:
        for name in query.keys() - {"namespace", "page_token", "page_size", "filter"}:
            raise Refusal(400, f"unknown field {name}")
        check(json.loads(query["filter"]), models.V2beta1Filter)
        wanted = json.loads(query["filter"])["predicates"][0]["string_value"]
        # As Kubernetes' own store of pipelines: a filter is a wish, so other things come too.
        found = [one for one in self.things[what] if all(one.get(key) == value for key, value in where.items())]
        found.sort(key=lambda one: one["display_name"] == wanted)
        start = int(query.get("page_token") or 0)
        answer: dict[str, Any] = {"pipeline_versions" if what == "versions" else what: found[start:start + PAGE]}
        return answer | ({"next_page_token": str(start + PAGE)} if start + PAGE < len(found) else {})

    def _make(self, what: str, body: dict[str, Any]) -> Any:
        check(body, models.V2beta1Pipeline if what == "pipelines" else models.V2beta1Experiment)
        self._allowed(body.get("namespace"))
        made = self.add(what, body["display_name"], namespace=body.get("namespace"))
        if self.racing:
            raise Refusal(409, f"Already exist error: {body['display_name']}")
        return made

    def add(self, what: str, name: str, **more: Any) -> dict[str, Any]:
        if any(one["display_name"] == name and one.get("namespace") == more.get("namespace") for one in self.things[what]):
            raise Refusal(409, f"Already exist error: {name}")
        made = {"display_name": name, f"{LISTS[what]}_id": f"{what}-{len(self.things[what])}", **more}
        self.things[what].append(made)
        return made

    def _upload(self, query: dict[str, str], headers: Any, body: bytes) -> Any:
        for name in query.keys() - {"name", "pipelineid", "display_name", "description"}:
            raise Refusal(400, f"unknown field {name}")
        head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
        (part,) = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(head + body).iter_parts()
        spec, *_ = yaml.safe_load_all(part.get_content())
        if part.get_param("name", header="content-disposition") != "uploadfile" or "pipelineInfo" not in spec:
            raise Refusal(400, "Failed to read a pipeline spec file")
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", query["name"]):
            raise Refusal(400, f"Invalid name {query['name']}")
        made = self.add("versions", query["name"], pipeline_id=query["pipelineid"], spec=spec)
        if self.racing:
            raise Refusal(409, "Failed to create a pipeline version")
        return {key: value for key, value in made.items() if key != "spec"}

    def _start(self, kind: str, body: dict[str, Any]) -> Any:
        check(body, models.V2beta1Run if kind == "runs" else models.V2beta1RecurringRun)
        reference = body["pipeline_version_reference"]
        wanted = reference["pipeline_version_id"]
        version = next((one for one in self.things["versions"] if one["pipeline_version_id"] == wanted), None)
        experiments = {one["experiment_id"] for one in self.things["experiments"]}
        if not version or version["pipeline_id"] != reference["pipeline_id"] or body["experiment_id"] not in experiments:
            raise Refusal(400, "Invalid input error: no such version or experiment")
        declared = version["spec"]["root"]["inputDefinitions"]["parameters"]
        for name in body["runtime_config"]["parameters"].keys() - declared.keys():
            raise Refusal(400, f"Invalid input error: parameter {name} is not in the pipeline")
        if kind == "runs":
            self.runs.append(body)
            return {**body, "run_id": f"run-{len(self.runs)}"}
        self.schedules.append(body)
        return {**body, "recurring_run_id": "again-1"}

    def _state(self, run: str) -> Any:
        state = self.states.pop(0) if len(self.states) > 1 else self.states[0]
        failed = [{"display_name": "attack", "state": "FAILED"}, {"display_name": "render", "state": "SUCCEEDED"}]
        end = {"run_details": {"task_details": failed}, "error": {"message": "a step failed"}} if state == "FAILED" else {}
        return {"run_id": run, "state": state, **end}


def check(body: Any, model: Any) -> None:
    """Refuse what ``model``, a class of kfp-server-api, does not hold, at any depth."""
    names = {key: attribute for attribute, key in model.attribute_map.items()}
    for key, value in body.items():
        if key not in names:
            raise Refusal(400, f"unknown field {key} of {model.__name__}")
        kind = model.openapi_types[names[key]]
        items, kind = (value, kind[5:-1]) if kind.startswith("list[") else ([value], kind)
        for item in items:
            inner = getattr(models, kind, None)
            if inner is not None and inner.openapi_types:
                check(item, inner)
                continue
            fits = item in inner.allowable_values if inner is not None else isinstance(item, NATIVE.get(kind, object))
            if not fits:
                raise Refusal(400, f"{item!r} is no {kind} ({model.__name__}.{key})")


NATIVE = {"str": str, "int": int, "bool": bool}


class Handler(http.server.BaseHTTPRequestHandler):
    kfp: ClassVar[FakeKfp]

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def _serve(self, method: str) -> None:
        url = urllib.parse.urlsplit(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        try:
            status, said = 200, self.kfp.answer(method, url.path, dict(urllib.parse.parse_qsl(url.query)), self.headers, body)
        except Refusal as refusal:
            status, said = refusal.status, {"error": str(refusal), "code": 3, "message": str(refusal), "details": []}
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "/login.html")
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(said).encode())

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def serving(kfp: FakeKfp) -> Iterator[str]:
    """The server's URL on loopback, while the context lasts."""
    handler = type("Handler", (Handler,), {"kfp": kfp})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
