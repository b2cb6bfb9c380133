"""What servers are forked from: a process in which everything is imported that `omixa serve` imports before it listens.

Importing this module does it, since names of modules are all that multiprocessing's fork server takes.
"""

import gc

import tests.proof.forked_servers  # noqa: F401 - what is run in children

gc.freeze()
