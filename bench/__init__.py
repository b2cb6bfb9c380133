"""The benchmark: what Omixa adds to a call, next to a direct call and to nginx as a plain reverse proxy. See README.md."""
