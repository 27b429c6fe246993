"""How the services of a standalone orchestrator are started: `python -m orchestrator.cli`."""

from orchestrator.cli import main

if __name__ == "__main__":
    main()
