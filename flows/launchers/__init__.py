"""Where work runs: `base` is what a launcher does, `local` a child process, `kubernetes` a Job."""
