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


@contextmanager
def injected_init_container(
    core_api: client.CoreV1Api,
    namespace: str,
    address: str,
    folder: Path,
    container: dict[str, Any],
) -> Generator[None]:
    """Give every new pod of the namespace an init container, while the context is open.

    Args:
        core_api: As an administrator.
        namespace: It gets a label that selects it.
        address: Of this machine, as the API server reaches it.
        folder: For the certificate of the webhook.
        container: The init container.
    """
    library: Any = client
    api: Any = core_api
    hooks = library.AdmissionregistrationV1Api(api.api_client)
    api.patch_namespace(namespace, {"metadata": {"labels": {"injected": namespace}}})
    certificate = make_certificate([address])
    with _serve(address, certificate, folder, container) as port:
        hooks.create_mutating_webhook_configuration(
            _configuration(namespace, f"https://{address}:{port}/", certificate.authority)
        )
        try:
            yield
        finally:
            hooks.delete_mutating_webhook_configuration(namespace)


def _configuration(name: str, url: str, authority: bytes) -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "webhooks": [
            {
                "name": "inject.claude-jobs.test",
                "clientConfig": {"url": url, "caBundle": base64.b64encode(authority).decode()},
                "rules": [
                    {
                        "apiGroups": [""],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE"],
                        "resources": ["pods"],
                    }
                ],
                "namespaceSelector": {"matchLabels": {"injected": name}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }


@contextmanager
def _serve(
    address: str, certificate: ServerCertificate, folder: Path, container: dict[str, Any]
) -> Generator[int]:
    patch = json.dumps([{"op": "add", "path": "/spec/initContainers", "value": [container]}])
    encoded = base64.b64encode(patch.encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer: dict[str, Any] = {
                "uid": review["request"]["uid"],
                "allowed": True,
                "patchType": "JSONPatch",
                "patch": encoded,
            }
            body = json.dumps({**review, "request": None, "response": answer}).encode()
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
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
