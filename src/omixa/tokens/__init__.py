"""Token counting: how many tokens of the o200k encoding a prompt has."""

from .o200k import TokenCount, Tokenizer

__all__ = ["TokenCount", "Tokenizer"]
