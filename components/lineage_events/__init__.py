"""OpenLineage: what a stage reads and makes, told to the server that OPENLINEAGE_URL names.

photos → LR → candidates → scores → pairs → model → version → gate → alias. An unreachable server delays nobody beyond
`LONGEST_WAIT`, fails nothing, and is told of once.

Source: https://openlineage.io/docs/spec/object-model
"""

from components.lineage_events.work import LONGEST_WAIT, Told, parent_of, told

__all__ = ["LONGEST_WAIT", "Told", "parent_of", "told"]
