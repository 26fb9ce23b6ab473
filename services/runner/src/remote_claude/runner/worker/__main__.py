import sys

from remote_claude.runner.worker.main import main

sys.exit(main())
