"""diffusers without what it imports for quantised weights, which no model here has."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

PACKAGE = "bitsandbytes"


@contextmanager
def without_quantisation() -> Iterator[None]:
    """Within, bitsandbytes counts as not installed, unless it is imported already.

    diffusers, accelerate and peft import it where they find it, and it imports torch's compiler: together a fifth of
    the CPU time that a stage takes to start. It is installed because pyiqa asks for it.
    """
    modules = cast(dict[str, Any], sys.modules)
    if PACKAGE in modules:
        yield
        return
    modules[PACKAGE] = None  # so an import fails, and `find_spec` finds nothing
    try:
        yield
    finally:
        del modules[PACKAGE]
