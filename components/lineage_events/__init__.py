"""OpenLineage: what a stage reads and makes, sent to the server that OPENLINEAGE_URL names.

photos → LR → candidates → scores → pairs → model → version → gate → alias. An unreachable server delays nobody beyond
`LONGEST_WAIT`, fails nothing, and is reported once.

Source: https://openlineage.io/docs/spec/object-model
"""

from components.lineage_events.work import LONGEST_WAIT, Datasets, parent_of, work_events

__all__ = ["LONGEST_WAIT", "Datasets", "parent_of", "work_events"]
