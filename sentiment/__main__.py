"""`python -m sentiment`."""

from sentiment.signals import heed_signals_from_the_start

if __name__ == "__main__":
    heed_signals_from_the_start()
    from sentiment.cli import main  # which takes a while

    main()
