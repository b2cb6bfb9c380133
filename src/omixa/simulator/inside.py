"""The simulators that serve test keys inside the gateway's own process, by the ids of the providers that they play."""

from __future__ import annotations

from collections.abc import Mapping

from starlette.types import ASGIApp

from omixa.engines.workers import Workers
from omixa.simulator import bedrock, fal, flux, foundry, gemini, openai, openrouter, replicate, stability
from omixa.simulator.service import SimulatorOptions
from omixa.tokens import Tokenizer


def simulators(
    workers: Workers, tokenizer: Tokenizer, *, api_key: str, latency_s: float = 0.0
) -> Mapping[str, ASGIApp]:
    """Return one application for each provider. All of them take the same key; `latency_s` is added before each answer."""
    options = SimulatorOptions(api_key, latency_s=latency_s)
    return {
        "bedrock": bedrock.create_app(options, workers),
        "gemini": gemini.create_app(options, workers, tokenizer=tokenizer),
        "openrouter": openrouter.create_app(options, workers, tokenizer=tokenizer),
        "fal": fal.create_app(options, workers),
        "flux": flux.create_app(options, workers),
        "foundry-flux": flux.create_app(options, workers),
        "replicate": replicate.create_app(options, workers),
        "stability": stability.create_app(options, workers),
        "foundry": foundry.create_app(
            foundry.FoundrySimulatorOptions(api_key, latency_s=latency_s), workers, tokenizer=tokenizer
        ),
        "openai": openai.create_app(
            openai.OpenAISimulatorOptions(api_key, latency_s=latency_s), workers, tokenizer=tokenizer
        ),
    }
