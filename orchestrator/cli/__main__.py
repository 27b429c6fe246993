"""How the command is started where its script is not installed: `python -m orchestrator.cli`."""

from orchestrator.cli import main

if __name__ == "__main__":
    main()
