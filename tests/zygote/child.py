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
    from selcgi.zygote.fresh import Fresh

    with open(paths[0], encoding="latin-1") as opened:
        first, _, flags = opened.readline().removeprefix("#!").strip().partition(" ")
    found = interpreter.become(first, flags, package=sys.argv[1])
    stdin, folder = os.dup(0), os.open(".", os.O_PATH)
    os.chdir("/")  # a zygote is elsewhere, too
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)  # as main.py has it
    os.close(null)
    fresh = Fresh(found)
    preload.load(list(names), preload.state())
    files = [os.open(path, os.O_RDONLY) for path in paths]
    codes = [script.precompile(path, file) for path, file in zip(paths, files, strict=True)]
    last = fresh.settle(os.path.dirname(paths[0]))  # noqa: PTH120
    status = 0
    with open("/proc/self/environ", "rb") as begun:
        environ = [pair.partition(b"=")[::2] for pair in begun.read().split(b"\0") if pair]
    for path, file, code in zip(paths, files, codes, strict=True):
        pid = os.fork()
        if pid == 0:
            os.dup2(stdin, 0)
            os.close(stdin)
            os.fchdir(folder)
            os.close(folder)
            fresh.begin((os.fsencode(path),), dict(environ))
            end(script.run(code, path, file, folder_first="safe_path" not in found.flags), last)
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


main()
