"""What the flow of a run needs around its stages: inputs, ownership, cancellation, failures.

The flows use it; it does not know the command line.
"""
