"""A stage in a place of its own: inputs come from a store, outputs go back to it, by content.

`python -m components.<stage> [--shard i/n] --task URL` makes a workspace, brings what the stage needs, runs the very
same `python -m components.<stage>` there as a child process, and puts what it made into the store. A pod does that, and
so does a child process of a flow on one machine. The task document says what, the command line which part of it.
Machines that train together have the same command line; the environment says which of them this is.
"""
