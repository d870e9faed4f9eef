"""Freed memory stays with the process."""

import os
import subprocess
import sys

import pytest

PASSES = """
import resource
import sys
import torch
from components.runtime.allocator import keep_freed_memory

torch.set_num_threads(1)
if sys.argv[1] == "kept":
    assert keep_freed_memory()

def one_pass():
    kept = [torch.zeros(1 << 20) for _ in range(16)]  # 16 x 4 MiB, all freed at its end
    return len(kept)

for _ in range(2):  # until the heap has settled
    one_pass()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(8):
    one_pass()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""
PAGES = 8 * 16 * 1024  # of 4 KiB


def page_faults(how: str) -> int:
    # What glibc starts with; left alone, its threshold moves with what happens to be freed first.
    fixed = {"MALLOC_TRIM_THRESHOLD_": "131072", "MALLOC_MMAP_THRESHOLD_": "131072"}
    command = [sys.executable, "-c", PASSES, how]
    return int(
        subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | fixed, timeout=300).stdout
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_a_pass_finds_the_memory_of_the_last_one() -> None:
    assert page_faults("kept") < PAGES / 8
    assert page_faults("returned") > PAGES / 2  # what this is for
