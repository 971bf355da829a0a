"""A mutating webhook of our own, as service meshes and policy engines have them."""

import base64
import json
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from kubernetes import client

from deployments.local.certificates import ServerCertificate, make_certificate

Json = list[dict[str, Any]]
_GROUPS = {"pods": "", "jobs": "batch"}


@contextmanager
def mutating_webhook(
    core_api: client.CoreV1Api,
    namespace: str,
    address: str,
    folder: Path,
    resource: str,
    patch: Json,
    denial: str = "",
) -> Generator[None]:
    """Have every new object of a resource changed in the namespace, while the context is open.

    Args:
        core_api: As an administrator.
        namespace: It gets a label that selects it.
        address: Of this machine, as the API server reaches it.
        folder: For the certificate of the webhook.
        resource: `pods` or `jobs`.
        patch: A JSON patch.
        denial: Why every object is denied instead; empty for none.
    """
    library: Any = client
    api: Any = core_api
    hooks = library.AdmissionregistrationV1Api(api.api_client)
    api.patch_namespace(namespace, {"metadata": {"labels": {"mutated": namespace}}})
    certificate = make_certificate([address])
    with _serve(address, certificate, folder, _answer(patch, denial)) as port:
        hooks.create_mutating_webhook_configuration(
            _configuration(namespace, f"https://{address}:{port}/", certificate.authority, resource)
        )
        try:
            yield
        finally:
            hooks.delete_mutating_webhook_configuration(namespace)


def _configuration(name: str, url: str, authority: bytes, resource: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": "mutate.claude-jobs.test",
                "clientConfig": {"url": url, "caBundle": base64.b64encode(authority).decode()},
                "rules": [
                    {
                        "apiGroups": [_GROUPS[resource]],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": [resource],
                    }
                ],
                "namespaceSelector": {"matchLabels": {"mutated": name}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }


def _answer(patch: Json, denial: str) -> dict[str, Any]:
    if denial:
        return {"allowed": False, "status": {"message": denial}}
    encoded = base64.b64encode(json.dumps(patch).encode()).decode()
    return {"allowed": True, "patchType": "JSONPatch", "patch": encoded}


@contextmanager
def _serve(
    address: str, certificate: ServerCertificate, folder: Path, answer: dict[str, Any]
) -> Generator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            response = {"uid": review["request"]["uid"], **answer}
            body = json.dumps({**review, "request": None, "response": response}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing; the API server's log tells of every call."""

    context = certificate.context(folder)
    with ThreadingHTTPServer((address, 0), Handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
