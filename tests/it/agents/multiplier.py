"""Keeps processes running in an environment of their own, and replaces each that is killed.

The arguments: how often each is replaced, a file to make when that is used up, and the environment, NAME=VALUE each.
"""

import os
import sys

AT_ONCE = 16

deaths, exhausted = int(sys.argv[1]), sys.argv[2]
environment = dict(pair.split("=", 1) for pair in sys.argv[3:])


def start():
    os.posix_spawn("/bin/sleep", ["sleep", "120"], environment)


for _ in range(AT_ONCE):
    start()
for _ in range(deaths * AT_ONCE):
    os.wait()
    start()
open(exhausted, "w").close()
