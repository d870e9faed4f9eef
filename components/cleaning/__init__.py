"""`dp2o gc`: what nothing that is kept refers to, in every place where this project keeps things.

`kinds.py` is the table of the places, a row each. Each row says what refers to things in it, what it has, and how one
of them is removed; `inventory.py` decides, and knows none of the places.
"""
