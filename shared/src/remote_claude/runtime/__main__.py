"""`python -m remote_claude.runtime`: every installed service in this one process.

`--once-input-ends`: its parent closes its standard input when the broker and the database are there.
"""

import sys

from remote_claude.runtime import main

main(once_input_ends="--once-input-ends" in sys.argv[1:])
