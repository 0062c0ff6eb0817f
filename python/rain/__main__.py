"""``python -m rain``: the same as the command ``rain``."""

from rain.cli import main

if __name__ == "__main__":
    main()
