"""The pages that people read: the front page, a page for each model, the guide, and their twins in Markdown.

Everything on them is made from what the gateway itself works with: the catalogue, the table of operations, the errors and the
options. `site.py` lists the pages, `pages.py` answers requests for them.
"""
