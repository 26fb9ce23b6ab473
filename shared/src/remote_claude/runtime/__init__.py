"""What every process of ours is made of."""

import gc


def main(*names: str) -> None:
    """Host the named services, or all that are installed, until SIGTERM or SIGINT."""
    gc.disable()  # importing leaves no garbage, and looking for some takes a sixth of it; `host.run` enables it
    from remote_claude.runtime import host

    host.main(*names)
