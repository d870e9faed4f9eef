"""Who works with a project's folders and store now, so that nobody removes what they use.

Everybody who reads or writes says so; who removes goes ahead only where nobody does, and keeps them waiting meanwhile.
"""
