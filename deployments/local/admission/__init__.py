"""What the API server does to new objects before it stores them, and why it refuses some."""
