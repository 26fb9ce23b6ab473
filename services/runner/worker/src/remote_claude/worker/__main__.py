import sys

from remote_claude.worker.main import main

sys.exit(main())
