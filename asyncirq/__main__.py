"""Run the command line: ``python -m asyncirq`` is the ``asyncirq`` command."""

from __future__ import annotations

from asyncirq.cli import main

if __name__ == "__main__":
    main()
