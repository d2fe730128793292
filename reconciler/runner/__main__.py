"""`python -S -m reconciler.runner`: forks holders for one agent."""

from reconciler.runner.nursery import main

if __name__ == "__main__":
    main()
