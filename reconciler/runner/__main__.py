"""`python -S -m reconciler.runner`: one holder, until its workload is gone."""

from reconciler.runner.entry import main

if __name__ == "__main__":
    main()
