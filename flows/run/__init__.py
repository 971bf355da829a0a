"""What the flow of a run needs around its stages: inputs, ownership, cancellation, failures.

Used by the flows; does not know the command line.
"""
