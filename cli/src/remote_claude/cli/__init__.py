"""`rclaude`: hand a coding task to an agent and close the laptop."""


def main() -> None:
    """The command `rclaude`."""
    from remote_claude.cli.app import run

    run()


def release() -> str:
    """The release that is installed; `unknown` where none is."""
    from importlib.metadata import PackageNotFoundError, version  # takes longer than the command line does

    try:
        return version("remote-claude")
    except PackageNotFoundError:
        return "unknown"
