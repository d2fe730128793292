"""`python -S -m reconciler.probe`: answers probes on descriptor 3, until that is closed."""

from reconciler.probe.service import main

if __name__ == "__main__":
    main()
