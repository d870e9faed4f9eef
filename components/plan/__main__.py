"""`python -m components.plan` is `dp2o plan`."""

from components.cli import main

if __name__ == "__main__":
    main("plan")
