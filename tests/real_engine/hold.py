"""Holds one thread of a process, as a call that never returns would: hold.py PID THREAD. Says "held", and ends once the
thread is gone."""

import ctypes
import os
import sys

PTRACE_ATTACH = 16
WALL = 0x40000000


def main(process: int, name: str) -> None:
    threads = f"/proc/{process}/task"
    held = [int(t) for t in os.listdir(threads) if open(f"{threads}/{t}/comm").read().strip() == name]
    if len(held) != 1:
        sys.exit(f"threads of that name: {held}")
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.ptrace(PTRACE_ATTACH, held[0], None, None) != 0:
        sys.exit(os.strerror(ctypes.get_errno()))
    os.waitpid(held[0], WALL)
    print("held", flush=True)
    # Whatever else would stop it, it is stopped already: the next news is its end.
    os.waitpid(held[0], WALL)


main(int(sys.argv[1]), sys.argv[2])
