import sys

from components.entry import start

COMMANDS = {
    "freeze": ["freeze"],
    "promote": ["promote"],
    "reject": ["reject"],
    "rollback": ["rollback"],
    "history": ["history"],
    "serve": ["serve"],
    "show": ["models", "show"],
}
"""The stage itself has no command; these are `dp2o`'s."""

if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] in COMMANDS:
        from components.cli import main

        command = COMMANDS[sys.argv.pop(1)]
        main(*command)
    else:
        start.stage("register")
