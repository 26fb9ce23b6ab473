"""Fly.io: an app on a network of its own, made through the Machines API."""

from __future__ import annotations

import os
from typing import Any

from remote_claude.cli.errors import CliError, Exit
from remote_claude.cli.self_hosted.clouds.base import Answers, CloudCheck, Deployed, Prices, Say

API = "https://api.machines.dev"


class Fly:
    """The organisation that a token is of. The token stays in FLY_API_TOKEN: it is written nowhere."""

    needs_gateway = True
    prices = Prices(fixed=0, task_hour=0.0309)
    """shared-cpu-2x with 4 GiB. Source: fly.io/docs/about/pricing, region ams."""

    def __init__(self, answers: Answers) -> None:
        self.answers = answers
        self._token = os.environ.get("FLY_API_TOKEN", "")
        if not self._token:
            raise CliError(
                'no token of Fly: export FLY_API_TOKEN="$(fly tokens create org)"',
                Exit.REFUSED,
                code="credentials_missing",
            )
        self._org = answers.account or "personal"
        self.account = self._org
        self.identity = f"organisation {self._org}"

    def checks(self) -> list[CloudCheck]:
        status, answer = self._ask("GET", f"/v1/apps?org_slug={self._org}")
        if status != 200:
            return [
                CloudCheck(
                    "rights", "failed", f"Fly refuses the token for {self._org} ({_why(status, answer)})"
                )
            ]
        taken = self._app()
        return [
            CloudCheck("rights", "ok", f"{len(answer.get('apps', []))} apps in {self._org}"),
            CloudCheck(
                "app",
                "note" if taken else "ok",
                f"{self.answers.name} is there already" if taken else "the name is not used here",
            ),
        ]

    def plan(self) -> dict[str, int]:
        return {"app": 1, "network": 1}

    def deploy(self, say: Say) -> Deployed:
        name = self.answers.name
        if not self._app():
            status, answer = self._ask(
                "POST", "/v1/apps", {"app_name": name, "org_slug": self._org, "network": name}
            )
            if status != 201:
                raise CliError(f"the app {name} can't be made: {_why(status, answer)}", code="deploy_failed")
            say(f"app {name}: made")
        image = self.answers.image or f"registry.fly.io/{name}:worker"
        steps = ("fly auth docker", f"docker tag remote-claude/worker {image}", f"docker push {image}")
        region = {"RCLAUDE_RUNNER_FLY_REGION": self.answers.region} if self.answers.region else {}
        return Deployed(
            "fly",
            {
                "RCLAUDE_RUNNER_PROVIDERS": "local,fly",
                "RCLAUDE_RUNNER_GATEWAY_URL": self.answers.gateway_url,
                "RCLAUDE_RUNNER_FLY_APP": name,
                "RCLAUDE_RUNNER_FLY_IMAGE": image,
                **region,
            },
            () if self.answers.image else steps,
        )

    def resources(self) -> list[tuple[str, str]]:
        if not self._app():
            return []
        _, machines = self._ask("GET", f"/v1/apps/{self.answers.name}/machines")
        return [("app", self.answers.name), *(("machine", str(one["id"])) for one in machines or [])]

    def destroy(self, say: Say) -> None:
        status, answer = self._ask("DELETE", f"/v1/apps/{self.answers.name}?force=true")
        if status not in (200, 202, 204, 404):
            raise CliError(f"the app can't be removed: {_why(status, answer)}", code="destroy_failed")
        say(f"app {self.answers.name}: removed with its Machines")

    def _app(self) -> bool:
        status, answer = self._ask("GET", f"/v1/apps/{self.answers.name}")
        if status not in (200, 404):
            raise CliError(
                f"the app can't be looked at: {_why(status, answer)}", Exit.REFUSED, code="rights_missing"
            )
        return status == 200

    def _ask(self, method: str, path: str, body: dict[str, str] | None = None) -> tuple[int, Any]:
        import httpx2

        url = os.environ.get("RCLAUDE_RUNNER_FLY_API", API) + path
        headers = {
            "Authorization": self._token if self._token.startswith("FlyV1 ") else f"Bearer {self._token}"
        }
        try:
            answer = httpx2.request(method, url, json=body, headers=headers, timeout=60)
        except httpx2.HTTPError as error:
            raise CliError(f"{url}: {error}", Exit.UNREACHABLE) from error
        try:
            return answer.status_code, answer.json()
        except ValueError:
            return answer.status_code, {}


def _why(status: int, answer: Any) -> str:
    return f"{status}: {answer['error']}" if isinstance(answer, dict) and answer.get("error") else str(status)
