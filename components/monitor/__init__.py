"""Is what the champion restores in production as good as when it was promoted?"""
