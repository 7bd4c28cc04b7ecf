"""A zygote without a worker: `python child.py TREE PRELOADS SCRIPT..` runs each script in a fork, as main.py does.

Standard streams and folder are the caller's; a script's exit status is the program's own when there is one script.
"""

import os
import signal
import sys


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    names, paths = filter(None, sys.argv[2].split(",")), sys.argv[3:]
    from selcgi.zygote import interpreter, preload, script
    from selcgi.zygote.ending import end
    from selcgi.zygote.fresh import Streams, forget, settle

    with open(paths[0], encoding="latin-1") as opened:
        first, _, flags = opened.readline().removeprefix("#!").strip().partition(" ")
    letters = interpreter.become(first, flags)
    preload.load(list(names), preload.state())
    streams = Streams("u" in letters)
    files = [os.open(path, os.O_RDONLY) for path in paths]
    codes = [script.precompile(path, file) for path, file in zip(paths, files, strict=True)]
    last = settle(sys.argv[1])
    status = 0
    for path, file, code in zip(paths, files, codes, strict=True):
        pid = os.fork()
        if pid == 0:
            sys.argv[:] = [path]
            sys.orig_argv[:] = [sys.executable, path]
            streams.take()
            forget()
            end(script.run(code, path, file, folder_first=not letters & {"I", "P"}), last)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


main()
