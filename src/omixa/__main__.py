"""Run the command line as `python -m omixa`."""

from omixa.cli import main

if __name__ == "__main__":
    main()
