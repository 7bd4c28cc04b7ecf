"""A program that goes beyond a limit with its very first instructions: no libc, no loader, nothing before it.

What it says on stdout is how far it came. Compiled by the tests of limits, on the host and in the guest.
"""

import shutil
import subprocess
from pathlib import Path

SOURCE = r"""/* x86_64. argc and argv are where the stack begins; a system call takes its fourth argument in r10. */
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n"
        ".globl call\ncall: mov %rdi, %rax\n mov %rsi, %rdi\n mov %rdx, %rsi\n mov %rcx, %rdx\n"
        " mov %r8, %r10\n mov %r9, %r8\n mov 8(%rsp), %r9\n syscall\n ret\n");
long call(long number, long a, long b, long c, long d, long e, long f);

static void say(long number) {
    char text[24], *at = text + 24;
    *--at = '\n';
    do *--at = '0' + number % 10; while (number /= 10);
    call(1, 1, (long)at, text + 24 - at, 0, 0, 0);
}

static void memory(void) { /* 256 MiB, page by page: mmap, private and anonymous */
    char *at = (char *)call(9, 0, 256 << 20, 3, 0x22, -1, 0);
    long n;
    if ((long)at < 0) { say(0); return; }
    for (n = 0; n < 256 << 20; n += 4096) at[n] = 1;
    say(256);
}

static void processes(void) { /* as many as there may be of 64, which stay until they are killed */
    long n, pid;
    for (n = 0; n < 64; n++) {
        pid = call(57, 0, 0, 0, 0, 0, 0);
        if (pid == 0) for (;;) call(34, 0, 0, 0, 0, 0, 0);
        if (pid < 0) break;
    }
    say(n);
}

static void files(void) { /* dup */
    long n = 0;
    while (n < 4096 && call(32, 0, 0, 0, 0, 0, 0) >= 0) n++;
    say(n);
}

static void file(void) { /* open "big" for writing, fallocate does not count */
    static char data[1 << 16];
    long n, to = call(2, (long)"big", 0101, 0600, 0, 0, 0);
    for (n = 0; n < 256; n++) if (call(1, to, (long)data, sizeof data, 0, 0, 0) <= 0) break;
    say(n);
}

void begin(long *stack) {
    switch (((char **)stack)[2][1]) {
        case 'e': memory(); break;
        case 'r': processes(); break;
        case 'p': for (;;); /* spin */
        case 'd': files(); break; /* fds */
        case 'o': file(); break; /* long */
        case 'i': say(20 - call(140, 0, 0, 0, 0, 0, 0)); break; /* nice: getpriority of the kernel is 20 - nice */
    }
    call(231, 0, 0, 0, 0, 0, 0);
}
"""
WORDS = ("memory", "processes", "spin", "fds", "long", "nice")


def build(folder: Path) -> Path:
    """The program, in `folder`, which other users may enter."""
    source, program = folder / "greedy.c", folder / "greedy"
    source.write_text(SOURCE)
    compiler = shutil.which("gcc") or "tcc"
    words = [compiler, "-static", "-nostdlib", "-o", str(program), str(source)]
    subprocess.run(words, check=True)
    program.chmod(0o755)
    return program
