"""A self-hosted gateway for AI images: one request in, pictures and an exact receipt out."""

__version__ = "0.1.0"
