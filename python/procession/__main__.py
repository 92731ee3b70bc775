# SPDX-License-Identifier: Apache-2.0
"""``python -m procession``."""

import sys

from procession.command_line import main

if __name__ == "__main__":
    main(sys.argv[1:])
