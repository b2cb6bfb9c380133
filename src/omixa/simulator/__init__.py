"""Providers to rehearse with: they speak the wire format of a live service, as strictly, and fail on demand."""
