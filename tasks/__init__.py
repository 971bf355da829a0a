"""The stages of a run, one module each, and the rooms that they stand on.

Beside the stages there are only packages; imports go from the stages to what surrounds a run, to
the shells (Kubernetes, Prefect, storage), to the pure packages.
"""
