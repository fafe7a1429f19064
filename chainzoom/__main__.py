"""``python -m chainzoom``."""

from chainzoom.cli import main

if __name__ == "__main__":
    main()
