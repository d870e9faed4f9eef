"""Speed and memory against plain loops of the public kind, the base model's figures, and the arena."""

from components.interruption import end_module_well

end_module_well()
