"""Where bytes lie and how they get there: atomic files, digests, caches, stores, git, the hub, wheels."""
