"""The console: pages for people who sign in. `routes.py` lists them, `endpoint.py` is the door in front of all of them.

Everything is made on the server for whoever asks, is usable without a script, and shows nothing that the JSON API does not
give too; each page says by which call.
"""
