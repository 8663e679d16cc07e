"""`python -m ncollapse` is the command line."""

from ncollapse.cli import main

if __name__ == "__main__":
    main()
