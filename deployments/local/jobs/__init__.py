"""The Job controller: pure rules about a Job and its pods, and the shell that carries them out."""
