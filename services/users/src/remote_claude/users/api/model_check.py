"""The call that shows whether a model's service takes a credential, before it is stored."""

from __future__ import annotations

from urllib.parse import quote

import httpx2

from remote_claude.access.model_credentials import CredentialUnusable, model_credential
from remote_claude.contracts.refusals import Refusal
from remote_claude.contracts.users import ModelAccess
from remote_claude.outbound import AddressRefused, AllowedHosts, CheckedTransport

CHECK_S = 10.0
MAX_SENTENCE = 300
NOTHING = b"{}"
"""An empty call: a service answers 400 to it once it has taken the credential, and charges nothing."""


class ModelKeyRefused(Refusal):
    """The model's service did not take the credential."""

    code = "model_key_refused"


async def check_model(access: ModelAccess, value: str, allowed: AllowedHosts) -> None:
    """Request the list of models, or of Bedrock and Vertex an empty call of the model. Raises `ModelKeyRefused`."""
    try:
        credential = model_credential(access, value)
        async with httpx2.AsyncClient(transport=CheckedTransport(allowed), timeout=CHECK_S) as client:
            request, body = _request(client, access)
            request.headers.update(await credential.headers(request, body, client))
            answer = await client.send(request)
    except CredentialUnusable as error:
        raise ModelKeyRefused(f"The key cannot be used: {error}. Nothing was stored.") from error
    except (httpx2.HTTPError, AddressRefused, OSError) as error:
        raise ModelKeyRefused(
            f"{access.base_url} could not be asked about the key: {str(error) or type(error).__name__}. "
            "Nothing was stored; try again, or check --base-url."
        ) from error
    if answer.is_success or (body and answer.status_code == 400):
        return
    said = _sentence(answer)
    raise ModelKeyRefused(
        f"{access.base_url} refused the key ({answer.status_code}){f': {said}' if said else ''}. Nothing was stored; check "
        "the key" + (", the region and whether it may use the model." if body else ".")
    )


def _request(client: httpx2.AsyncClient, access: ModelAccess) -> tuple[httpx2.Request, bytes]:
    model = quote(access.model or "", safe="@")
    match access.provider:
        case "bedrock":
            path, body = f"/model/{model}/invoke", NOTHING
        case "vertex":
            place = f"/v1/projects/{access.project}/locations/{access.region}"
            path, body = f"{place}/publishers/anthropic/models/{model}:rawPredict", NOTHING
        case "openai":
            path, body = "/models", b""
        case "gemini":
            path, body = "/v1beta/models", b""
        case "anthropic":
            path, body = "/v1/models", b""
    headers = {"anthropic-version": "2023-06-01"} if access.provider == "anthropic" else {}
    if body:
        headers["content-type"] = "application/json"
    method = "POST" if body else "GET"
    return client.build_request(method, access.base_url + path, headers=headers, content=body or None), body


def _sentence(answer: httpx2.Response) -> str:
    try:
        given = answer.json()
    except ValueError:
        return ""
    error = given.get("error", given) if isinstance(given, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return " ".join(message.split())[:MAX_SENTENCE].rstrip(".") if isinstance(message, str) else ""
