"""From raw scores to rewards: of a group, and under bounds fixed once so that models compare. Pure."""
