"""Pages for whoever runs the gateway: what is broken, what will change, and what can be done about it.

The table of their routes is `web/console/routes.py`, and they are answered as the console's are.
"""
