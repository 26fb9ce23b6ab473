"""Vertex AI of Google Cloud with Anthropic's models: the Messages API in one project and region."""

from __future__ import annotations

import re
from functools import partial
from urllib.parse import unquote

from remote_claude.runner.model_proxy.apis.anthropic import MessagesUsage
from remote_claude.runner.model_proxy.apis.base import ModelApi, ModelRoute


class VertexApi(ModelApi):
    """Only the project and the region of the credential are asked in."""

    def __init__(self, region: str, project: str) -> None:
        place = f"/v1/projects/{re.escape(project)}/locations/{re.escape(region)}/publishers/anthropic/models"
        self._pattern = re.compile(rf"{place}/([A-Za-z0-9][A-Za-z0-9.@%-]*):(rawPredict|streamRawPredict)")

    def route(self, method: str, path: str) -> ModelRoute | None:
        found = self._pattern.fullmatch(path)
        if method != "POST" or found is None:
            return None
        model = unquote(found[1])
        if model == "count-tokens":
            return ModelRoute()
        return ModelRoute(partial(MessagesUsage, model=model), model)
