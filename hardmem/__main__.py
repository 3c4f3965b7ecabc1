"""`python -m hardmem`: the command line."""

from hardmem.agents.cli import main

if __name__ == "__main__":
    main()
