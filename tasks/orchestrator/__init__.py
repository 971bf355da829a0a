"""The Prefect shell: stages, artifacts, events, the run's log, states of flow runs.

Every call has a time limit, and no decision about a run is made here.
"""
