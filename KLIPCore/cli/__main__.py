"""`python -m KLIPCore.cli`: the same as `klip`."""

from KLIPCore.cli.application import main

if __name__ == "__main__":
    main()
