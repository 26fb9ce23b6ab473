"""What every process of ours is made of."""

import gc


def main(*names: str, once_input_ends: bool = False) -> None:
    """Host the named services, or all that are installed, until SIGTERM or SIGINT.

    With `once_input_ends` they are imported, and connect to nothing before standard input has ended.
    """
    gc.disable()  # importing leaves no garbage, and looking for some takes a sixth of it; `host.run` enables it
    from remote_claude.runtime.lean_imports import import_lean

    import_lean()
    from remote_claude.runtime import host

    host.main(*names, once_input_ends=once_input_ends)
