"""`python -m sentiment`."""

from sentiment.cli import main

if __name__ == "__main__":
    main()
