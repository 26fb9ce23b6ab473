"""The APIs of model services: which requests a sandbox may make of each, and what its answers say of their use."""

from remote_claude.contracts.users import ModelProvider
from remote_claude.runner.model_proxy.apis.anthropic import AnthropicApi
from remote_claude.runner.model_proxy.apis.base import ModelApi, ModelRoute
from remote_claude.runner.model_proxy.apis.bedrock import BedrockApi
from remote_claude.runner.model_proxy.apis.gemini import GeminiApi
from remote_claude.runner.model_proxy.apis.openai import OpenAiApi
from remote_claude.runner.model_proxy.apis.vertex import VertexApi

__all__ = ["AnthropicApi", "ModelApi", "ModelRoute", "api_of"]


def api_of(provider: ModelProvider, region: str | None = None, project: str | None = None) -> ModelApi:
    """The API of a kind of service. `region` and `project` are the only ones that Vertex may be asked in."""
    match provider:
        case "anthropic":
            return AnthropicApi()
        case "openai":
            return OpenAiApi()
        case "bedrock":
            return BedrockApi()
        case "vertex":
            return VertexApi(region or "", project or "")
        case "gemini":
            return GeminiApi()
