"""How a run ended: facts, precedence, cause, diagnosis, result, and the pages that report it.

No I/O here. A verdict is never better than the facts; what a stage says of its own failure is
taken as it is, everything else is worded here.
"""
