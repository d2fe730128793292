"""`python -m clusterctl`: the same as the `clusterctl` command."""

from clusterctl.app import main

if __name__ == "__main__":
    main()
