"""Secrets and model credentials over HTTP. What was stored is never answered, only that it is there."""

from __future__ import annotations

from enum import Enum
from http import HTTPStatus
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Response
from fastapi import Path as InPath
from pydantic import AfterValidator, BaseModel, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from remote_claude.access import vault
from remote_claude.access.model_credentials import default_url
from remote_claude.access.vault import Vault
from remote_claude.contracts.contexts import secret_context
from remote_claude.contracts.refusals import Refusal
from remote_claude.contracts.users import ModelAccess, ModelProvider, SecretStored
from remote_claude.edge.caller import Caller
from remote_claude.edge.models import problems
from remote_claude.eventsourcing import CommandHandler, Decider
from remote_claude.outbound import AllowedHosts
from remote_claude.outbound.hosts import DEFAULT, NONE, network
from remote_claude.runtime.service import Runtime
from remote_claude.users.api.model_check import check_model
from remote_claude.users.api.models import RequestBody
from remote_claude.users.domain.vault import ChooseModel, Command, RemoveSecret, decide

VAULT = Decider(Vault(), decide, vault.evolve)
SECRETS: list[str | Enum] = ["secrets"]
MODELS: list[str | Enum] = ["models"]


def _hosts(text: str) -> str:
    try:
        found = network(text)
    except ValueError as error:
        raise PydanticCustomError("hosts", "{why}", {"why": str(error)}) from error
    if any(host in (NONE, DEFAULT) for host, _ in found) or len(found) != 1:
        raise PydanticCustomError("hosts", "must be HOST or HOST:PORT")
    return text.lower()


SecretName = Annotated[str, InPath(pattern="^[A-Z][A-Z0-9_]{0,63}$")]
ModelName = Annotated[str, InPath(pattern="^[a-z][a-z0-9-]{0,63}$")]
Token = Annotated[str, StringConstraints(min_length=1, max_length=4096, pattern=r"^[!-~]+$")]


class NewToken(RequestBody):
    """A secret value: one line of visible ASCII, as tokens are."""

    value: Token


class NewSecret(RequestBody):
    """`hosts` are where the value may go. With `as_env` the sandbox gets the value itself, and can read it."""

    value: Annotated[str, StringConstraints(min_length=1, max_length=16384, pattern=r"^[^\x00]+$")]
    hosts: list[Annotated[str, StringConstraints(max_length=255), AfterValidator(_hosts)]] = []
    as_env: bool = False


class NewModel(RequestBody):
    """A credential for a model's service of a kind: `provider`.

    `value` is the service's API key; for Bedrock also `KEY_ID:SECRET` of AWS, with `:SESSION_TOKEN` behind it for a
    temporary one; for Vertex the JSON of a service account's key in one line, or an access token. `kind` is for
    `anthropic`: an API key, or a token that is sent as `Authorization: Bearer`. Bedrock needs `region` and `model`, Vertex
    `project` as well. `model` is the default of tasks.
    """

    value: Annotated[str, StringConstraints(min_length=1, max_length=16384, pattern=r"^[ -~]+$")]
    provider: ModelProvider = "anthropic"
    kind: Literal["key", "token"] = "key"
    base_url: (
        Annotated[str, StringConstraints(max_length=2048, pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")]
        | None
    ) = None
    region: Annotated[str, StringConstraints(pattern="^[a-z]+[a-z0-9-]{0,62}$")] | None = None
    project: Annotated[str, StringConstraints(pattern="^[a-z][a-z0-9:.-]{0,98}$")] | None = None
    model: Annotated[str, StringConstraints(pattern="^[A-Za-z0-9][A-Za-z0-9._:/@-]{0,255}$")] | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed = {"bedrock": ("region", "model"), "vertex": ("region", "project", "model")}
        for field in needed.get(self.provider, ()):
            if getattr(self, field) is None:
                raise PydanticCustomError(
                    "model", "{provider} needs `{field}`", {"provider": self.provider, "field": field}
                )
        return self


class ModelChoice(RequestBody):
    """The name of a credential; null is the operator's."""

    name: str | None


class SecretAnswer(BaseModel):
    """`of` is its owner. If both have one of this name, the person's is used."""

    name: str
    of: Literal["person", "organisation"]
    hosts: list[str]
    as_env: bool
    stored_by: str


class SecretList(BaseModel):
    secrets: list[SecretAnswer]


class ModelAnswer(BaseModel):
    """`used`: tasks of the caller use this one."""

    name: str
    of: Literal["person", "organisation"]
    provider: str
    base_url: str
    region: str | None
    project: str | None
    model: str | None
    used: bool


class ModelList(BaseModel):
    models: list[ModelAnswer]


class SecretChanged(BaseModel):
    name: str | None
    position: int


class SecretUnusable(Refusal):
    """It could never be used as it is described."""

    code = "secret_unusable"


def add_routes(api: APIRouter, runtime: Runtime) -> None:
    """The routes of secrets and model credentials."""
    handler = CommandHandler(runtime.log, runtime.clock)
    allowed = AllowedHosts.parse(runtime.settings.outbound_allow)

    async def handle(command: Command, name: str | None) -> SecretChanged:
        handled = await handler.handle(VAULT, vault.stream_of(command.org), command)
        return SecretChanged(name=name, position=handled.position)

    async def store(
        who: Caller,
        name: str,
        body: NewSecret | NewToken | NewModel,
        owner: str | None,
        model: ModelAccess | None = None,
    ) -> SecretChanged:
        key = await runtime.keyring.get(owner or who.org)
        sealed = key.seal(body.value, secret_context(who.org, owner, name))
        rest = {"hosts": tuple(body.hosts), "as_env": body.as_env} if isinstance(body, NewSecret) else {}
        stored = SecretStored(
            org=who.org, by=who.user, owner=owner, secret_name=name, value=sealed, model=model, **rest
        )
        return await handle(stored, name)

    async def store_secret(who: Caller, name: str, body: NewSecret, owner: str | None) -> SecretChanged:
        if bool(body.hosts) == body.as_env:
            raise SecretUnusable(
                "A secret needs either the hosts that it may go to (`--host HOST`), or `--as-env`, which lets the "
                "agent read it."
            )
        if not body.as_env and not body.value.isprintable():
            raise SecretUnusable(
                "A secret for hosts is one line of printable text. One with several lines needs `--as-env`."
            )
        return await store(who, name, body, owner)

    async def store_model(who: Caller, name: str, body: NewModel, owner: str | None) -> SecretChanged:
        access = ModelAccess(
            provider=body.provider,
            base_url=(body.base_url or default_url(body.provider, body.region)).rstrip("/"),
            header="x-api-key" if body.provider == "anthropic" and body.kind == "key" else "authorization",
            region=body.region,
            project=body.project,
            model=body.model,
        )
        await check_model(access, body.value, allowed)
        return await store(who, name, body, owner, access)

    @api.get("/v1/org/secrets", tags=SECRETS, responses=problems(503))
    async def list_secrets(principal: Caller) -> SecretList:
        """The secrets that tasks of the caller can use: their own, and the organisation's."""
        found = await vault.read_vault(runtime.log, principal.org)
        return SecretList(
            secrets=[
                SecretAnswer(
                    name=name,
                    of=_of(owner),
                    hosts=list(secret.hosts),
                    as_env=secret.as_env,
                    stored_by=secret.by,
                )
                for (owner, name), secret in sorted(found.stored.items(), key=lambda item: item[0][1])
                if owner in (None, principal.user) and (secret.hosts or secret.as_env)
            ]
        )

    @api.put("/v1/me/secrets/{name}", tags=SECRETS, responses=problems(403, 409, 422, 503))
    async def set_secret(principal: Caller, name: SecretName, body: NewSecret) -> SecretChanged:
        """Store a secret for one's own tasks, sealed. A later one replaces it."""
        return await store_secret(principal, name, body, principal.user)

    @api.put("/v1/org/secrets/{name}", tags=SECRETS, responses=problems(403, 409, 422, 503))
    async def set_org_secret(principal: Caller, name: SecretName, body: NewSecret) -> SecretChanged:
        """Store a secret for the tasks of the organisation, sealed. A later one replaces it."""
        return await store_secret(principal, name, body, None)

    @api.delete("/v1/me/secrets/{name}", tags=SECRETS, status_code=204, responses=problems(403, 404, 503))
    async def remove_secret(principal: Caller, name: SecretName) -> Response:
        """Remove one's own secret: tasks that start from here on do not get it."""
        return await removed(principal, name, principal.user)

    @api.delete("/v1/org/secrets/{name}", tags=SECRETS, status_code=204, responses=problems(403, 404, 503))
    async def remove_org_secret(principal: Caller, name: SecretName) -> Response:
        """Remove a secret of the organisation: tasks that start from here on do not get it."""
        return await removed(principal, name, None)

    async def removed(who: Caller, name: str, owner: str | None, *, model: bool = False) -> Response:
        await handle(RemoveSecret(org=who.org, by=who.user, name=name, owner=owner, model=model), name)
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @api.get("/v1/org/models", tags=MODELS, responses=problems(503))
    async def list_models(principal: Caller) -> ModelList:
        """The model credentials of the caller, and the organisation's."""
        found = await vault.read_vault(runtime.log, principal.org)
        used = found.model(principal.user)
        return ModelList(
            models=[
                ModelAnswer(
                    name=name,
                    of=_of(owner),
                    provider=secret.model.provider,
                    base_url=secret.model.base_url,
                    region=secret.model.region,
                    project=secret.model.project,
                    model=secret.model.model,
                    used=secret == used,
                )
                for (owner, name), secret in sorted(found.stored.items(), key=lambda item: item[0][1])
                if owner in (None, principal.user) and secret.model is not None
            ]
        )

    @api.put("/v1/me/models/{name}", tags=MODELS, responses=problems(403, 409, 422, 503))
    async def add_model(principal: Caller, name: ModelName, body: NewModel) -> SecretChanged:
        """Store a model credential for one's own tasks, once the model's service has taken it. The first one is used."""
        return await store_model(principal, name, body, principal.user)

    @api.put("/v1/org/models/{name}", tags=MODELS, responses=problems(403, 409, 422, 503))
    async def add_org_model(principal: Caller, name: ModelName, body: NewModel) -> SecretChanged:
        """Store a model credential for the organisation, once the model's service has taken it. The first one is used."""
        return await store_model(principal, name, body, None)

    @api.delete("/v1/me/models/{name}", tags=MODELS, status_code=204, responses=problems(403, 404, 503))
    async def remove_model(principal: Caller, name: ModelName) -> Response:
        """Remove one's own model credential."""
        return await removed(principal, name, principal.user, model=True)

    @api.delete("/v1/org/models/{name}", tags=MODELS, status_code=204, responses=problems(403, 404, 503))
    async def remove_org_model(principal: Caller, name: ModelName) -> Response:
        """Remove a model credential of the organisation."""
        return await removed(principal, name, None, model=True)

    @api.put("/v1/me/model", tags=MODELS, responses=problems(403, 404, 422, 503))
    async def use_model(principal: Caller, body: ModelChoice) -> SecretChanged:
        """Choose the credential of one's own tasks. Without one of their own, they use the organisation's."""
        who = principal
        return await handle(ChooseModel(org=who.org, by=who.user, name=body.name, owner=who.user), body.name)

    @api.put("/v1/org/model", tags=MODELS, responses=problems(403, 404, 422, 503))
    async def use_org_model(principal: Caller, body: ModelChoice) -> SecretChanged:
        """Choose the credential of the organisation's tasks. Without one, they use the operator's."""
        who = principal
        return await handle(ChooseModel(org=who.org, by=who.user, name=body.name, owner=None), body.name)


def _of(owner: str | None) -> Literal["person", "organisation"]:
    return "organisation" if owner is None else "person"
