"""The wire formats that Omixa speaks, by the names that the catalogue's provider files give them under `adapter`."""

from __future__ import annotations

from collections.abc import Mapping

from omixa.engines.conversions import Conversions
from omixa.providers.base import Provider
from omixa.providers.bedrock import BedrockProvider
from omixa.providers.dialects import AZURE, COMPATIBLE, LOCALAI, OPENAI
from omixa.providers.fal import FalProvider
from omixa.providers.flux import FluxProvider, FoundryFluxProvider
from omixa.providers.foundry import FoundryProvider
from omixa.providers.gemini import GeminiProvider
from omixa.providers.openai import OpenAIProvider
from omixa.providers.openrouter import OpenRouterProvider
from omixa.providers.replicate import ReplicateProvider
from omixa.providers.stability import StabilityProvider
from omixa.providers.wire import Transport


def adapters(transport: Transport, conversions: Conversions) -> Mapping[str, Provider]:
    """Return one adapter for each wire format. They share the transport and what converts pictures."""
    return {
        "bedrock": BedrockProvider(transport, conversions),
        "gemini": GeminiProvider(transport, conversions),
        "openrouter": OpenRouterProvider(transport, conversions),
        "fal": FalProvider(transport, conversions),
        "flux": FluxProvider(transport, conversions),
        "foundry-flux": FoundryFluxProvider(transport, conversions),
        "replicate": ReplicateProvider(transport, conversions),
        "stability": StabilityProvider(transport, conversions),
        "foundry": FoundryProvider(transport, conversions),
        "openai": OpenAIProvider(transport, conversions, OPENAI),
        "azure-openai": OpenAIProvider(transport, conversions, AZURE),
        "openai-compatible": OpenAIProvider(transport, conversions, COMPATIBLE),
        "localai": OpenAIProvider(transport, conversions, LOCALAI),
    }
