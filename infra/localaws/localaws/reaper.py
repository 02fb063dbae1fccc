"""The process that ends the others when the supervisor was killed and could not.

Belongs here: waiting for the supervisor's end. Does not: finding and killing processes (``processes``).

The supervisor holds the other end of this process's stdin. When it is gone, however it went, the kernel closes that end.
"""

import sys

from localaws.processes import kill_marked


def main() -> None:
    """Wait for the end of stdin, then kill every process with the mark ``NAME=VALUE`` given as arguments."""
    name, value = sys.argv[1:]
    while sys.stdin.buffer.read(1):
        pass
    kill_marked(name, value)


if __name__ == "__main__":
    main()
