"""What outlives the pod: the result storage, stored results, their keys, remembered sessions.

What is missing and what cannot be read are told apart.
"""
