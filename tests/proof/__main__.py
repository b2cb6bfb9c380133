"""`python -m tests.proof` proves everything; `python -m tests.proof NAME --size N --seed S` runs one part alone."""

import sys

if __name__ == "__main__":
    # Children of multiprocessing import this module too, and have no use for all that is proved.
    from tests.proof.command import main

    sys.exit(main())
