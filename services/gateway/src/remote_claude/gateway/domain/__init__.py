"""What the gateway decides, and how a task's life follows from the events of three services. Pure."""
