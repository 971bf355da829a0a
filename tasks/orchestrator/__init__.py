"""The Prefect shell: stages, artifacts, events, the run's log, states of flow runs.

Every call is bounded, and no decision about a run is taken here.
"""
