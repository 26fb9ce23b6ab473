"""The HTTP side of a process: routers, authentication, problem documents."""
