"""What surrounds the story of a run: its inputs, owning the agent, cancellation, refusals.

Used by the flows; knows no command line.
"""
