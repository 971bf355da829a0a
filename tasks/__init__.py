"""The stages of a run as Prefect tasks, thin shells around the packages below.

Task modules call `tasks.cluster` for effects and the pure packages for decisions.
"""
