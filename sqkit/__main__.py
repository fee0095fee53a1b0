"""``python -m sqkit``."""

from sqkit.cli import main

if __name__ == "__main__":
    main()
