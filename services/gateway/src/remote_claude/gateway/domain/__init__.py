"""What the gateway decides, and how a task's life is told from the events of three services. Pure."""
