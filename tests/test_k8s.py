"""The manifests as kustomize renders them, the Secrets that go with them, and the bucket bootstrap for real."""

import base64
import contextlib
import http.server
import importlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import urllib3
import yaml

from privadv.errors import PrivadvError
from privadv.store import Store
from privadv.workspace.seaweed import _free_ports

pytestmark = pytest.mark.k8s

PROJECT = Path(__file__).resolve().parent.parent
K8S = PROJECT / "k8s"
OVERLAYS = ("dev", "gpu", "seaweedfs")
# The label that KFP's compiler for Argo puts on every pod of a v2 run, and the namespace of a single-user KFP.
PIPELINE_POD = {"pipelines.kubeflow.org/v2_component": "true"}
PIPELINES = "kubeflow"
KUBERNETES = ("1.31", "1.37")
POD_VOLUMES = {"configMap", "emptyDir", "persistentVolumeClaim", "secret"}
Manifest = dict[str, Any]

sys.path[:0] = [str(K8S), str(K8S / "base")]
bootstrap: Any = importlib.import_module("bootstrap")
make_secrets: Any = importlib.import_module("make_secrets")
overlay_of_images: Any = importlib.import_module("overlay")


@cache
def rendered(overlay: str, k8s: Path = K8S) -> tuple[Manifest, ...]:
    assert shutil.which("kubectl"), "kubectl is needed, for kubectl kustomize"
    done = subprocess.run(["kubectl", "kustomize", str(k8s / "overlays" / overlay)], capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stderr
    return tuple(yaml.safe_load_all(done.stdout))


def of_kind(overlay: str, *kinds: str) -> list[Manifest]:
    return [manifest for manifest in rendered(overlay) if manifest["kind"] in kinds]


def key(manifest: Manifest) -> tuple[str, str]:
    return manifest["metadata"]["namespace"], manifest["metadata"]["name"]


def workloads(overlay: str) -> list[Manifest]:
    return of_kind(overlay, "Deployment", "StatefulSet", "Job")


def pod(workload: Manifest) -> Manifest:
    return workload["spec"]["template"]["spec"]


def labels(workload: Manifest) -> dict[str, str]:
    return workload["spec"]["template"]["metadata"]["labels"]


def containers(workload: Manifest) -> list[Manifest]:
    return [*pod(workload).get("initContainers", ()), *pod(workload)["containers"]]


def ports(workload: Manifest) -> dict[str, int]:
    return {port["name"]: port["containerPort"] for each in containers(workload)
            for port in each.get("ports", ())}


@cache
def known_keys(overlay: str) -> dict[tuple[str, str, str], set[str]]:
    """The keys of every Secret and ConfigMap there is, by kind, namespace and name."""
    found = {("ConfigMap", *key(each)): set(each["data"]) for each in of_kind(overlay, "ConfigMap")}
    for each in make_secrets.manifests(PIPELINES)["items"]:
        found["Secret", *key(each)] = set(each["stringData"])
    return found


def references(workload: Manifest) -> Iterator[tuple[str, str, str | None]]:
    """Kind, name and key (None for all) of whatever the pod takes from a Secret or ConfigMap."""
    for each in containers(workload):
        for source in each.get("envFrom", ()):
            for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                if field in source:
                    yield kind, source[field]["name"], None
        for variable in each.get("env", ()):
            for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                if field in variable.get("valueFrom", {}):
                    yield kind, variable["valueFrom"][field]["name"], variable["valueFrom"][field]["key"]
    for volume in pod(workload).get("volumes", ()):
        for field, name, kind in (("secret", "secretName", "Secret"), ("configMap", "name", "ConfigMap")):
            if field in volume:
                yield kind, volume[field][name], None
                yield from ((kind, volume[field][name], item["key"]) for item in volume[field].get("items", ()))


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_kubernetes_takes_every_field(overlay: str, version: str) -> None:
    kubernetes_validate = importlib.import_module("kubernetes_validate")
    assert len(rendered(overlay)) > 15
    for manifest in rendered(overlay):
        kubernetes_validate.validate(manifest, version, strict=True)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_reference_leads_somewhere(overlay: str) -> None:
    accounts = {key(each) for each in of_kind(overlay, "ServiceAccount")}
    claims = {key(each) for each in of_kind(overlay, "PersistentVolumeClaim")}
    services = {key(each) for each in of_kind(overlay, "Service")}
    seen = 0
    for workload in workloads(overlay):
        namespace, name = key(workload)
        assert (namespace, pod(workload)["serviceAccountName"]) in accounts
        assert workload["kind"] != "StatefulSet" or (namespace, workload["spec"]["serviceName"]) in services
        for kind, referred, wanted in references(workload):
            seen += 1
            keys = known_keys(overlay).get((kind, namespace, referred))
            assert keys, f"{name}: {kind} {referred} is nowhere in {namespace}"
            assert wanted is None or wanted in keys, f"{name}: {kind} {referred} has no {wanted}"
        claimed = {claim["metadata"]["name"] for claim in workload["spec"].get("volumeClaimTemplates", ())}
        volumes = {volume["name"] for volume in pod(workload).get("volumes", ())} | claimed
        mounted = {mount["name"] for each in containers(workload) for mount in each.get("volumeMounts", ())}
        assert mounted == volumes
        for volume in pod(workload).get("volumes", ()):
            claim = volume.get("persistentVolumeClaim")
            assert not claim or (namespace, claim["claimName"]) in claims
    assert seen >= 8


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_selectors_and_ports_match(overlay: str) -> None:
    for workload in workloads(overlay):
        if workload["kind"] != "Job":
            assert workload["spec"]["selector"]["matchLabels"].items() <= labels(workload).items()
        for each in containers(workload):
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                assert workload["kind"] == "Job" or probe in each
                if "httpGet" in each.get(probe, {}):
                    assert each[probe]["httpGet"]["port"] in ports(workload)
    for service in of_kind(overlay, "Service"):
        selected = [each for each in workloads(overlay) if key(each)[0] == key(service)[0]
                    and service["spec"]["selector"].items() <= labels(each).items()]
        assert len(selected) == 1, f"{key(service)} selects {[key(each) for each in selected]}"
        assert all(port["targetPort"] in ports(selected[0]) for port in service["spec"]["ports"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_rights_are_bound_to_accounts_that_exist(overlay: str) -> None:
    assert not of_kind(overlay, "ClusterRole", "ClusterRoleBinding")
    roles = {key(each) for each in of_kind(overlay, "Role")}
    accounts = {key(each) for each in of_kind(overlay, "ServiceAccount")}
    bindings = of_kind(overlay, "RoleBinding")
    assert bindings
    for binding in bindings:
        assert (key(binding)[0], binding["roleRef"]["name"]) in roles
        assert {(subject["namespace"], subject["name"]) for subject in binding["subjects"]} <= accounts
    for role in of_kind(overlay, "Role"):
        for rule in role["rules"]:
            assert "*" not in rule["verbs"] + rule["resources"] + rule["apiGroups"]
            assert set(rule["resources"]).isdisjoint({"secrets", "configmaps"}) or rule["resourceNames"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_restricted(overlay: str) -> None:
    (namespace,) = of_kind(overlay, "Namespace")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    for workload in workloads(overlay):
        assert key(workload)[0] == namespace["metadata"]["name"]
        spec, security = pod(workload), pod(workload)["securityContext"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & spec.keys()
        assert spec["automountServiceAccountToken"] is False
        assert security["runAsNonRoot"] is True
        assert security["runAsUser"] > 0
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}
        for volume in spec.get("volumes", ()):
            assert volume.keys() - {"name"} <= POD_VOLUMES
        for each in containers(workload):
            assert each["securityContext"] == {"allowPrivilegeEscalation": False,
                                               "readOnlyRootFilesystem": True,
                                               "capabilities": {"drop": ["ALL"]}}
            assert "hostPort" not in str(each.get("ports"))
            assert {"cpu", "memory"} <= each["resources"]["requests"].keys()
            assert "memory" in each["resources"]["limits"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_no_credential_is_written_down(overlay: str) -> None:
    assert not of_kind(overlay, "Secret")
    for workload in workloads(overlay):
        for each in containers(workload):
            for variable in each.get("env", ()):
                secret = re.search(r"(?i)password|secret|access_key|token|signing", variable["name"])
                assert not secret or "secretKeyRef" in variable["valueFrom"], variable["name"]
    for path in K8S.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            text = path.read_text()
            assert not re.search(r"://[^/\s\"]+:[^/\s\"]+@|minioadmin|kind: Secret$", text, re.MULTILINE), path


def test_secrets_are_fresh_and_hold_together() -> None:
    first, second = (make_secrets.manifests("team-a")["items"] for _ in range(2))
    values = [value for each in (*first, *second) for name, value in each["stringData"].items()
              if name not in ("username", "identities.json")]
    # Only the pipeline's key lies in two places.
    assert len(set(values)) == len(values) - 4
    by_key = {key(each): each["stringData"] for each in first}
    assert by_key["team-a", "privadv-s3"] == by_key["privadv", "s3-pipeline"]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_launcher_reaches_the_store_from_where_pipelines_run(overlay: str) -> None:
    maps = {each["metadata"]["name"]: each for each in of_kind(overlay, "ConfigMap")}
    launcher, stage = maps["kfp-launcher"], maps["privadv-stage"]["data"]
    assert key(launcher)[0] == key(maps["privadv-stage"])[0] == PIPELINES
    default = yaml.safe_load(launcher["data"]["providers"])["minio"]["default"]
    assert default["disableSSL"] is default["forcePathStyle"] is True
    secret = default["credentials"]["secretRef"]
    assert default["credentials"]["fromEnv"] is False
    assert {secret["accessKeyKey"], secret["secretKeyKey"]} == known_keys(overlay)[
        "Secret", PIPELINES, secret["secretName"]]
    root = urlsplit(launcher["data"]["defaultPipelineRoot"])
    assert root.scheme == "minio"
    assert bootstrap.ROLES["pipeline"][root.netloc] == bootstrap.ROLES["pipeline"][
        stage["PRIVADV_S3_BUCKET"]] == "write"
    offered = {f"{name}.{namespace}.svc:{port['port']}" for service in of_kind(overlay, "Service")
               for namespace, name in [key(service)] for port in service["spec"]["ports"]}
    addresses = [default["endpoint"], urlsplit(stage["PRIVADV_S3_ENDPOINT"]).netloc,
                 urlsplit(stage["MLFLOW_TRACKING_URI"]).netloc]
    assert set(addresses) <= offered
    # The stage reads these, and with the Secret's keys no more is needed.
    Store(stage["PRIVADV_S3_ENDPOINT"], stage["PRIVADV_S3_BUCKET"], ("a", "b"), stage["PRIVADV_S3_REGION"])


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_mlflow_answers_to_its_service_and_keeps_artifacts_in_its_bucket(overlay: str) -> None:
    (mlflow,) = of_kind(overlay, "Deployment")
    arguments = dict(each[2:].partition("=")[::2] for each in containers(mlflow)[0]["args"][1:])
    patterns = [re.escape(host).replace(r"\*", ".*") for host in arguments["allowed-hosts"].split(",")]
    for host in ("mlflow:5000", "mlflow.privadv.svc:5000", "localhost:5000"):
        assert any(re.fullmatch(pattern, host) for pattern in patterns), host
    assert not any(re.fullmatch(pattern, "evil.example") for pattern in patterns)
    bucket = urlsplit(arguments["artifacts-destination"]).netloc
    assert bootstrap.ROLES["mlflow"] == {bucket: "write"}
    environment = {each["name"]: each.get("value") for each in containers(mlflow)[0]["env"]}
    backend = "postgresql+psycopg2:///mlflow" if overlay == "gpu" else "sqlite:////data/mlflow.db"
    assert environment["MLFLOW_BACKEND_STORE_URI"] == backend


def selected(selector: Manifest, found: dict[str, str]) -> bool:
    for expression in selector.get("matchExpressions", ()):
        assert expression["operator"] == "In"
        if found.get(expression["key"]) not in expression["values"]:
            return False
    return selector.get("matchLabels", {}).items() <= found.items()


def passes(overlay: str, kind: str, mine: Manifest, other: tuple[str, dict[str, str]], port: str) -> bool:
    """Whether the network policies let traffic in (Ingress) or out (Egress) of one of our pods."""
    rules, peers = kind.lower(), {"Ingress": "from", "Egress": "to"}[kind]
    policies = [each["spec"] for each in of_kind(overlay, "NetworkPolicy")
                if kind in each["spec"]["policyTypes"] and selected(each["spec"]["podSelector"], labels(mine))]
    assert policies, "a pod without a policy is open to everyone"
    for rule in (rule for policy in policies for rule in policy.get(rules, ())):
        for peer in rule.get(peers, ()):
            home = peer.get("namespaceSelector", {"matchLabels": {"kubernetes.io/metadata.name": "privadv"}})
            if (selected(home, {"kubernetes.io/metadata.name": other[0]})
                    and selected(peer["podSelector"], other[1])
                    and {"port": port} in rule["ports"]):
                return True
    return False


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_only_those_who_must_reach_a_service_do(overlay: str) -> None:
    ours = {labels(each)["app.kubernetes.io/name"]: each for each in workloads(overlay)}
    strangers = {"pipeline": (PIPELINES, PIPELINE_POD), "ui": (PIPELINES, {"app": "ml-pipeline-ui"}),
                 "api": (PIPELINES, {"app": "ml-pipeline"}), "notebook": (PIPELINES, {"app": "notebook"}),
                 "elsewhere": ("default", PIPELINE_POD), "bare": (PIPELINES, {})}
    everyone = strangers | {name: ("privadv", labels(each)) for name, each in ours.items()}
    reach = {"s3": {"pipeline", "ui", "api", "mlflow", "bootstrap"}, "mlflow": {"pipeline"},
             "postgres": {"mlflow"}, "bootstrap": set()}
    for target, workload in ours.items():
        (port,) = ports(workload) or ["none"]
        admitted = {name for name, peer in everyone.items()
                    if passes(overlay, "Ingress", workload, peer, port)}
        assert admitted == reach[target], target
        for source in admitted & ours.keys():
            assert passes(overlay, "Egress", ours[source], ("privadv", labels(workload)), port)
    assert not passes(overlay, "Egress", ours["s3"], ("privadv", labels(ours["mlflow"])), "http")


def test_the_gpu_quota_binds_pipelines_and_nothing_but_gpus() -> None:
    (quota,) = of_kind("gpu", "ResourceQuota")
    assert quota["metadata"]["namespace"] == PIPELINES
    assert set(quota["spec"]["hard"]) == {"requests.nvidia.com/gpu"}
    (priority,) = of_kind("gpu", "PriorityClass")
    assert priority["preemptionPolicy"] == "Never"
    assert not priority.get("globalDefault")


def test_pipelines_move_to_another_namespace_by_one_word(tmp_path: Path) -> None:
    shutil.copytree(K8S, tmp_path / "k8s")
    kustomization = tmp_path / "k8s/pipeline/kustomization.yaml"
    kustomization.write_text(kustomization.read_text().replace("namespace: kubeflow", "namespace: team-a"))
    moved = rendered("gpu", tmp_path / "k8s")
    assert {each["metadata"].get("namespace") for each in moved} == {None, "privadv", "team-a"}
    assert PIPELINES not in re.findall(r"[\w.-]+", yaml.safe_dump_all(moved))


def test_images_are_arguments() -> None:
    tagged = overlay_of_images.kustomization("dev", "reg:5000/privadv", "v1", "quay.io/x/minio:2026-01")
    assert tagged["images"][-1] == {"name": "minio", "newName": "quay.io/x/minio", "newTag": "2026-01"}
    digest = "sha256:" + 64 * "a"
    assert overlay_of_images.image(f"reg:5000/x/minio:old@{digest}") == {
        "newName": "reg:5000/x/minio", "digest": digest}
    with pytest.raises(SystemExit, match="neither tag nor digest"):
        overlay_of_images.image("reg:5000/x/minio")
    named = {each["image"] for name in OVERLAYS for workload in workloads(name) for each in containers(workload)}
    assert named == {"minio", "postgres:17", "chrislusf/seaweedfs:4.48", "privadv/mlflow", "privadv/extract"}


def test_make_wants_the_image_of_minio_named(tmp_path: Path) -> None:
    makefile = tmp_path / "Makefile"
    makefile.write_text(f"READY :=\nBIN :=\ninclude {K8S}/targets.mk\n")
    done = subprocess.run(["make", "-f", str(makefile), "manifests", f"RENDERED={tmp_path}/out"],
                          cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode
    assert "MINIO_IMAGE" in done.stdout


def credentials(folder: Path) -> dict[str, dict[str, str]]:
    """The generated Secrets as the bootstrap's pod sees them, in files."""
    made = {each["metadata"]["name"]: each["stringData"] for each in make_secrets.manifests(PIPELINES)["items"]}
    for role in ("root", *bootstrap.ROLES):
        (folder / role).mkdir()
        for name, value in made[f"s3-{role}"].items():
            (folder / role / name).write_text(value)
    return made


@contextlib.contextmanager
def seaweedfs(folder: Path, secret: dict[str, str]) -> Iterator[str]:
    """SeaweedFS with the manifest's own arguments, but for places and ports."""
    (server,) = (each for each in workloads("seaweedfs") if key(each)[1] == "seaweedfs")
    identities = folder / "identities.json"
    identities.write_text(secret["identities.json"])
    first = _free_ports()
    ours = {"-dir": str(folder / "data"), "-ip.bind": "127.0.0.1", "-s3.port": str(first),
            "-s3.config": str(identities)}
    (folder / "data").mkdir()
    arguments = [f"{name}={ours.get(name, value)}" if value else name
                 for name, _, value in (each.partition("=") for each in containers(server)[0]["args"])]
    arguments += [f"-{role}.port={first + number + 1}"
                  for number, role in enumerate(("master", "volume", "filer", "admin"))]
    environment = os.environ | {"GOMEMLIMIT": "400MiB", "WEED_JWT_SIGNING_KEY": secret["signing-key"],
                                "WEED_JWT_FILER_SIGNING_KEY": secret["filer-signing-key"]}
    weed = Path(sysconfig.get_path("scripts")) / "weed"
    with (folder / "weed.log").open("wb") as log:
        process = subprocess.Popen([str(weed), *arguments], cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{first}"
        finally:
            process.kill()
            process.wait()


def test_the_bootstrap_gives_every_role_its_rights_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    secrets = credentials(tmp_path / "credentials")
    with seaweedfs(tmp_path, secrets["seaweedfs"]) as endpoint:
        for _ in range(2):
            bootstrap.main(endpoint, tmp_path / "credentials", "seaweedfs")
        root = bootstrap.connect(endpoint, tmp_path / "credentials/root")
        assert {each.name for each in root.list_buckets()} == set(bootstrap.BUCKETS)
        assert {root.get_bucket_versioning(each).status for each in bootstrap.BUCKETS} == {"Enabled"}

        def store(role: str, bucket: str) -> Store:
            return Store(endpoint, bucket, bootstrap.keys(tmp_path / "credentials" / role))

        # Create-once and removal must mean the same with versions below.
        ours = store("pipeline", "privadv")
        assert [ours.create("runs/a", b"1"), ours.create("runs/a", b"2")] == [True, False]
        ours.remove(["runs/a"])
        assert ours.read("runs/a") is None
        assert ours.create("runs/a", b"3")
        store("videos", "privadv-videos").write("sbu/a.mp4", b"video")
        videos = store("pipeline", "privadv-videos")
        assert videos.read("sbu/a.mp4") == b"video"
        refused: list[Callable[[], object]] = [
            lambda: videos.write("sbu/b.mp4", b""), lambda: videos.remove(["sbu/a.mp4"]),
            lambda: store("mlflow", "privadv").read("runs/a"),
            lambda: store("videos", "privadv").write("runs/a", b""),
            lambda: store("pipeline", "privadv-mlflow").keys("")]
        for attempt in refused:
            with pytest.raises(PrivadvError, match="AccessDenied"):
                attempt()


def test_the_bootstrap_notices_rights_that_are_too_wide(tmp_path: Path) -> None:
    (tmp_path / "credentials").mkdir()
    secret = dict(credentials(tmp_path / "credentials")["seaweedfs"])
    identities = json.loads(secret["identities.json"])
    for each in identities["identities"]:
        each["actions"] = ["Read", "Write", "List", "Admin"]
    secret["identities.json"] = json.dumps(identities)
    with (seaweedfs(tmp_path, secret) as endpoint,
          pytest.raises(SystemExit, match="role pipeline may list privadv-mlflow")):
        bootstrap.main(endpoint, tmp_path / "credentials", "seaweedfs")


def test_minio_is_told_of_every_user_and_policy(tmp_path: Path) -> None:
    """Against MinIO's admin requests as its client makes them: no MinIO server is at hand in tests."""
    from minio.crypto import decrypt

    secrets = credentials(tmp_path)
    told: list[tuple[str, dict[str, list[str]], bytes]] = []

    class Admin(http.server.BaseHTTPRequestHandler):
        def do_PUT(self) -> None:
            url = urlsplit(self.path)
            body = self.rfile.read(int(self.headers["Content-Length"] or 0))
            told.append((url.path.rpartition("/")[2], parse_qs(url.query), body))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Admin) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        bootstrap.make_users(f"http://127.0.0.1:{server.server_address[1]}", tmp_path)
        server.shutdown()
    by_command = {name: [each for each in told if each[0] == name] for name, _, _ in told}
    root = secrets["s3-root"]["AWS_SECRET_ACCESS_KEY"]
    for number, role in enumerate(bootstrap.ROLES):
        user = secrets[f"s3-{role}"]
        _, query, body = by_command["add-canned-policy"][number]
        assert query == {"name": [f"privadv-{role}"]}
        granted = {resource.removeprefix("arn:aws:s3:::").removesuffix("/*")
                   for each in json.loads(body)["Statement"] for resource in each["Resource"]}
        assert granted == set(bootstrap.ROLES[role])
        _, query, body = by_command["add-user"][number]
        assert query == {"accessKey": [user["AWS_ACCESS_KEY_ID"]]}
        assert user["AWS_SECRET_ACCESS_KEY"].encode() not in body + base64.b64encode(body)
        assert user["AWS_SECRET_ACCESS_KEY"].encode() in opened(decrypt, body, root)
        _, query, _ = by_command["set-user-or-group-policy"][number]
        assert query == {"userOrGroup": [user["AWS_ACCESS_KEY_ID"]], "isGroup": ["false"],
                         "policyName": [f"privadv-{role}"]}


def opened(decrypt: Callable[..., bytes], body: bytes, secret: str) -> bytes:
    """An encrypted request's content; the client's decrypt wants a response to read from."""
    return decrypt(urllib3.HTTPResponse(io.BytesIO(body), preload_content=False), secret)


def test_a_read_only_role_cannot_write_by_its_policy() -> None:
    statements = bootstrap.policy("pipeline")["Statement"]
    videos = {action for each in statements for action in each["Action"]
              if any("privadv-videos" in resource for resource in each["Resource"])}
    assert videos == {"s3:GetBucketLocation", "s3:ListBucket", "s3:GetObject"}
    assert all("*" not in action for role in bootstrap.ROLES
               for each in bootstrap.policy(role)["Statement"] for action in each["Action"])


def test_the_bootstrap_waits_for_a_server_only_so_long(tmp_path: Path, monkeypatch: Any) -> None:
    credentials(tmp_path)
    monkeypatch.setattr(bootstrap, "WAIT_SECONDS", 0.0)
    began = time.monotonic()
    with pytest.raises(SystemExit, match="does not answer"):
        bootstrap.main(f"http://127.0.0.1:{_free_ports()}", tmp_path, "minio")
    assert time.monotonic() - began < 60
