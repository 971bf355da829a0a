"""What a run has from the keeper of its pod: checkpoints, received, checked and stored.

Knows runs, the cluster and the result storage. Knows no stage: the stage says when, and goes on.
"""
