"""`rclaude`: hand a coding task to an agent and close the laptop."""


def main() -> None:
    """The command `rclaude`."""
    from remote_claude.cli.app import run

    run()
