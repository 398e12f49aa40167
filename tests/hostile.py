"""Programs that a sandbox must survive: what they do, how each must end, and from which level of isolation on.

A program prints `escaped` when it managed what it tried. `SECRET` and `OUTSIDE` become the paths of a file that holds
`TOKEN` and of a folder that anybody may write to; `HOST` becomes the id of the process that runs the sandbox.
"""

from __future__ import annotations

from dataclasses import dataclass

from nanochat.runtime.sandbox.result import Isolation, Outcome

TOKEN = "hunter2-the-secret"
PASSED, FAILED, CRASHED = Outcome.PASSED, Outcome.FAILED, Outcome.CRASHED
TIMED_OUT, OUT_OF_MEMORY, OUTPUT_LIMIT = Outcome.TIMED_OUT, Outcome.OUT_OF_MEMORY, Outcome.OUTPUT_LIMIT
PROCESS, SYSCALLS, FILES, FULL = Isolation.PROCESS, Isolation.SYSCALLS, Isolation.FILES, Isolation.FULL


@dataclass(frozen=True)
class Attack:
    """A hostile script. `endless` ones run until their time is over, so they are given little of it."""

    name: str
    program: str
    outcomes: tuple[Outcome, ...] = (PASSED,)
    level: Isolation = SYSCALLS
    endless: bool = False


def tries(name: str, *statements: str, level: Isolation = SYSCALLS, setup: str = "import os") -> Attack:
    """Each statement must fail."""
    lines = [setup]
    for statement in statements:
        body = statement.replace("\n", "\n    ")
        lines += ["try:", f"    {body}", f"    print('escaped:', {statement!r})", "except (OSError, ValueError): pass"]
    return Attack(name, "\n".join(lines), level=level)


CALLS = """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    if libc.syscall(number, *arguments) == -1:
        raise OSError(ctypes.get_errno(), "refused")
"""

ATTACKS = (
    # processes and threads
    Attack(
        "fork bomb", "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass", (TIMED_OUT,), endless=True
    ),
    Attack(
        "forks are counted",
        "import os, time\nchildren = 0\ntry:\n    while children < 100:\n"
        "        if os.fork() == 0: time.sleep(60)\n        children += 1\nexcept OSError: pass\n"
        "print('escaped' if children > 30 else 'held')",
    ),
    Attack(
        "threads are counted",
        "import threading, time\nstarted = 0\ntry:\n    while started < 100:\n"
        "        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n        started += 1\n"
        "except RuntimeError: pass\nprint('escaped' if started > 30 else 'held')\nimport os; os._exit(0)",
    ),
    Attack(
        "multiprocessing",
        "import multiprocessing as m, time\nc = m.get_context('fork')\nstarted = []\ntry:\n    while len(started) < 100:\n"
        "        p = c.Process(target=time.sleep, args=(60,), daemon=True); p.start(); started.append(p)\n"
        "except OSError: pass\nprint('escaped' if len(started) > 30 else 'held')\nimport os; os._exit(0)",
    ),
    # memory
    Attack("one huge block", "x = bytearray(1 << 31)", (OUT_OF_MEMORY,), PROCESS),
    Attack("doubling", "x = [0]\nwhile True: x += x", (OUT_OF_MEMORY,), PROCESS),
    Attack("small pieces", "x = []\nwhile True: x.append(bytes(1000))", (OUT_OF_MEMORY,), PROCESS),
    Attack("a string times n", "x = 'ab' * (1 << 33)", (OUT_OF_MEMORY,), PROCESS),
    Attack("mapping", "import mmap\nkept = [mmap.mmap(-1, 1 << 26) for _ in range(99)]", (FAILED,), PROCESS),
    Attack("a power tower", "x = 9 ** 9 ** 9", (TIMED_OUT, OUT_OF_MEMORY), PROCESS, endless=True),
    Attack(
        "memory of many processes",
        "import os, time\nfor _ in range(12):\n    if os.fork() == 0:\n        x = bytearray(b'x') * (100 << 20)\n"
        "        time.sleep(60)\ntime.sleep(60)",
        (OUT_OF_MEMORY,),
    ),
    Attack(
        "shared memory that is out of sight",
        "import mmap\nkept = []\nfor _ in range(6):\n    m = mmap.mmap(-1, 100 << 20)\n    m[::4096] = b'x' * 25600\n"
        "    m.resize(4096)\n    kept.append(m)\nprint('all of it')",
        (FAILED,),
    ),
    tries("files in memory", "os.memfd_create('x')", "call(29, 0, 1 << 20, 0o1600)", setup=CALLS),
    # time
    Attack("a loop", "while True: pass", (TIMED_OUT,), PROCESS, endless=True),
    Attack("a loop in C", "sum(range(10**15))", (TIMED_OUT,), PROCESS, endless=True),
    Attack(
        "a regular expression", "import re\nre.match('(a+)+$', 'a' * 60 + 'b')", (TIMED_OUT,), PROCESS, endless=True
    ),
    Attack("sleep", "import time\ntime.sleep(1000)", (TIMED_OUT,), PROCESS, endless=True),
    Attack(
        "deaf to signals",
        "import signal\nfor n in range(1, 32):\n    try: signal.signal(n, signal.SIG_IGN)\n    except OSError: pass\n"
        "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)\nwhile True: pass",
        (TIMED_OUT,),
        PROCESS,
        endless=True,
    ),
    tries("the clock", "time.clock_settime(time.CLOCK_REALTIME, 0)", setup="import time"),
    # output
    Attack("a flood", "while True: print('x' * 4000)", (OUTPUT_LIMIT,), PROCESS),
    Attack("a flood of one line", "import os\nwhile True: os.write(2, b'x' * 65536)", (OUTPUT_LIMIT,), PROCESS),
    Attack("a flood of bytes", "import os\nwhile True: os.write(1, b'\\xff\\x00\\x1b[2J')", (OUTPUT_LIMIT,), PROCESS),
    Attack("bytes that are no text", "import os\nos.write(1, b'\\xff\\xfe\\x00ok')", level=PROCESS),
    # disk
    Attack(
        "filling the disk",
        "import os\nwritten = 0\ntry:\n    for n in range(64):\n        with open(f'f{n}', 'wb', 0) as f:\n"
        "            for _ in range(64): written += f.write(bytes(1 << 20))\nexcept OSError: pass\n"
        "print('escaped' if written > 16 << 20 else 'held')",
    ),
    tries("a sparse file", "f = open('f', 'wb'); f.truncate(1 << 40)", setup="import os"),
    Attack(
        "many files",
        "made = 0\ntry:\n    for made in range(100000): open(f'{made}', 'w').close()\nexcept OSError: pass\n"
        "print('escaped' if made > 5000 else 'held')",
    ),
    Attack(
        "deep folders, closed ones",
        "import os\ntry:\n    for _ in range(100000):\n        os.mkdir('d'); os.chdir('d')\nexcept OSError: pass\n"
        "try: os.chmod('.', 0)\nexcept OSError: pass",
    ),
    # network
    tries(
        "sockets",
        *(
            f"socket.socket({family}, {kind})"
            for family in ("socket.AF_INET", "socket.AF_INET6", "socket.AF_UNIX", "16", "17", "40")
            for kind in ("socket.SOCK_STREAM", "socket.SOCK_DGRAM", "socket.SOCK_RAW")
        ),
        "socket.getaddrinfo('localhost', 80) and socket.create_connection(('localhost', 80))",
        "socket.create_connection(('169.254.169.254', 80), 1)",
        "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)",
        setup="import socket",
    ),
    tries("asking for names", "print(socket.gethostbyname('example.org'))", setup="import socket"),
    # what others have
    tries(
        "reading",
        "print(open('SECRET').read())",
        "print(os.listdir('OUTSIDE'))",
        "print(os.listdir(os.path.expanduser('~root')))",
        "open('/etc/passwd').read()",
        "print(open('/proc/HOST/environ').read())",
        "open('/proc/HOST/mem', 'rb')",
        "print(os.listdir('/proc/HOST/fd'))",
        "open('/proc/self/environ').read()",
        "open('/proc/1/environ').read()",
        "open('/dev/mem')",
        "open('/dev/kmsg')",
        "open('/dev/tty')",
        "open('/sys/kernel/kexec_loaded')",
        level=FILES,
    ),
    tries("seeing that files are there", "os.stat('SECRET')", "os.stat('/proc/HOST')", "os.stat('/var')", level=FULL),
    Attack("the environment", "import os\nprint(dict(os.environ))", level=PROCESS),
    tries(
        "writing",
        "open('OUTSIDE/made', 'w')",
        "open('SECRET', 'a')",
        "open('SECRET', 'r+')",
        "os.mkdir('OUTSIDE/folder')",
        "os.unlink('SECRET')",
        "os.rename('SECRET', 'OUTSIDE/moved')",
        "os.chmod('SECRET', 0)",
        "os.utime('SECRET')",
        "os.truncate('SECRET', 0)",
        "os.symlink('SECRET', 'OUTSIDE/link')",
        "os.link('SECRET', 'OUTSIDE/hard')",
        "os.mkfifo('OUTSIDE/fifo')",
        "os.setxattr('SECRET', 'user.x', b'y')",
        "open(os.__file__, 'a')",
        "open(os.__file__[:-5] + 'planted.py', 'w')",
        "open('/dev/shm/made', 'w')",
    ),
    tries(
        "links",
        "os.symlink('SECRET', 'a'); print(open('a').read())",
        "os.symlink('OUTSIDE', 'b'); open('b/made', 'w')",
        "os.link('SECRET', 'c'); print(open('c').read())",
        "print(open('../' * 40 + 'SECRET'[1:]).read())",
        "print(open('/proc/self/root/SECRET').read())",
        "print(open('/proc/self/cwd/../SECRET').read())",
        "print(open(f'/proc/self/fd/../../HOST/root/SECRET').read())",
        "os.chroot('.')",
        level=FILES,
    ),
    # other processes
    tries(
        "signals to the parent",
        "os.kill(HOST, 0)",
        "os.kill(HOST, signal.SIGSTOP)",
        "os.killpg(HOST, 0)",
        "os.pidfd_open(HOST)",
        setup="import os, signal",
    ),
    Attack("killing everybody", "import os\ntry: os.kill(-1, 9)\nexcept OSError: pass", (PASSED, CRASHED)),
    Attack(
        "killing its keeper",
        "import os\ntry:\n    os.kill(os.getppid(), 9)\n    os.kill(os.getppid(), 15)\nexcept OSError: pass",
    ),
    tries(
        "into the parent's memory",
        "call(101, 16, HOST, 0, 0)",  # ptrace
        "call(310, HOST, None, 0, None, 0, 0)",  # process_vm_readv
        "call(311, HOST, None, 0, None, 0, 0)",
        "call(438, 3, 0, 0)",  # pidfd_getfd
        setup=CALLS,
    ),
    Attack(
        "a daemon",
        "import os, time\nif os.fork() == 0:\n    try: os.setsid()\n    except OSError: pass\n"
        "    if os.fork() == 0:\n        time.sleep(1000)\n    os._exit(0)\nprint('left')",
    ),
    Attack(
        "a daemon that closes everything",
        "import os, time\nif os.fork() == 0:\n    os.closerange(0, 64)\n    time.sleep(1000)\nprint('left')",
    ),
    tries("a session of its own", "os.setsid()", "os.setpgid(0, 0)"),
    # programs
    tries(
        "running programs",
        "os.execv('/bin/sh', ['sh', '-c', 'echo escaped'])",
        "os.posix_spawn('/bin/sh', ['sh'], {})",
        "subprocess.run(['/bin/echo', 'escaped'], check=True)",
        "os.popen('echo escaped').read() and None",
        "f = open('x', 'wb'); f.write(b'\\x7fELF'); f.close(); os.chmod('x', 0o755); os.execv('./x', ['x'])",
        setup="import os, subprocess",
    ),
    tries(
        "programs from memory",
        "call(322, -1, b'', None, None, 0x1000)",
        "call(59, b'/bin/sh', None, None)",
        setup=CALLS,
    ),
    # limits and the kernel
    tries(
        "raised limits",
        *(
            f"resource.setrlimit(resource.RLIMIT_{name}, (1 << 40, 1 << 40))"
            for name in ("AS", "CPU", "FSIZE", "NOFILE", "NPROC", "CORE", "MEMLOCK")
        ),
        "resource.prlimit(HOST, resource.RLIMIT_AS)",
        "os.nice(-5)",
        "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))",
        "os.setuid(0)",
        setup="import os, resource",
    ),
    tries(
        "administering",
        *(
            f"call({number}, {arguments})"
            for number, arguments in (
                (272, "0x10000000"),  # unshare(CLONE_NEWUSER)
                (272, "0x00020000"),  # unshare(CLONE_NEWNS)
                (56, "0x10000011, 0, 0, 0, 0"),  # clone(CLONE_NEWUSER)
                (435, "0, 0"),  # clone3
                (165, "b'x', b'/', b'tmpfs', 0, None"),  # mount
                (155, "b'.', b'.'"),  # pivot_root
                (308, "0, 0"),  # setns
                (321, "0, 0, 0"),  # bpf
                (298, "0, 0, -1, -1, 0"),  # perf_event_open
                (250, "0, 0"),  # keyctl
                (323, "0"),  # userfaultfd
                (425, "8, 0"),  # io_uring_setup
                (151, "1"),  # mlockall
                (317, "0, 0, 0"),  # seccomp
                (135, "0x0400000"),  # personality
                (1073741865, "2, 1, 0"),  # socket, by its number for the x32 ABI
            )
        ),
        setup=CALLS,
    ),
    # the interpreter
    Attack("recursion", "def f(): f()\nf()", (FAILED,), PROCESS),
    Attack(
        "recursion without a limit",
        "import sys\nsys.setrecursionlimit(10**9)\ndef f(x): return [f(x)]\nf(1)",
        (OUT_OF_MEMORY, FAILED, CRASHED, TIMED_OUT),
        PROCESS,
        endless=True,
    ),
    Attack(
        "recursion in C",
        "import sys\nsys.setrecursionlimit(10**9)\nx = []\nfor _ in range(300_000): x = [x]\nrepr(x)",
        (CRASHED, FAILED),  # since Python 3.12 the interpreter notices
        PROCESS,
    ),
    Attack("a null pointer", "import ctypes\nctypes.string_at(0)", (CRASHED,), PROCESS),
    Attack("abort", "import os\nos.abort()", (CRASHED,), PROCESS),
    Attack(
        "foreign byte code",
        "f = lambda: 0\nf.__code__ = f.__code__.replace(co_code=bytes([100, 255] * 9))\nf()",
        (CRASHED, FAILED, PASSED),
        PROCESS,
    ),
    Attack(
        "no way out of a thread",
        "import threading\nthreading.Thread(target=lambda: threading.Event().wait()).start()",
        (TIMED_OUT,),
        endless=True,
    ),
    # input
    Attack("reading a terminal", "input()", (FAILED,), PROCESS),
    tries(
        "typing into a terminal",
        *(f"fcntl.ioctl({n}, termios.TIOCSTI, b'x')" for n in range(3)),
        setup="import fcntl, termios",
    ),
    # the source
    Attack("megabytes of source", "x = 1\n" * 700_000, (PASSED, OUT_OF_MEMORY, TIMED_OUT), PROCESS),
    Attack("nested source", "(" * 100_000, (FAILED, OUT_OF_MEMORY, CRASHED), PROCESS),
    Attack("a lone surrogate", "x = '\ud800'", (FAILED,), PROCESS),
    Attack("printing a lone surrogate", "print('\\ud800')", (FAILED,), PROCESS),
    Attack("a zero byte", "x = 1\0", (FAILED,), PROCESS),
    Attack("other line ends", "x = 1\r\nif x:\r\n    print('held')\r\n", (PASSED,), PROCESS),
    Attack("a mark of byte order", "\ufeffx = 1", (FAILED,), PROCESS),
    # its own harness
    Attack("closing every descriptor", "import os\nos.closerange(0, 64)", (PASSED, FAILED), PROCESS),
    Attack(
        "writing to every descriptor",
        "import os\nfor n in range(3, 64):\n    try: os.write(n, b'passed: \\n' * 99)\n    except OSError: pass\nos._exit(3)",
        (FAILED,),
        PROCESS,
    ),
)

GOOD = "def add(a, b):\n    return a + b\n"
CHECK = "assert add(2, 3) == 5\nassert add(20, 30) == 50\nassert add([1], [2]) == [1, 2]\n"

FORGERIES = {
    "sys.exit": "import sys\nsys.exit(0)",
    "os._exit": "import os\nos._exit(0)",
    "SystemExit in a call": "def add(a, b): raise SystemExit(0)",
    "os._exit in a call": "import os\ndef add(a, b): os._exit(0)",
    "execv": "import os\ndef add(a, b): os.execv('/bin/true', ['true'])",
    "no function": "",
    "a wrong answer": "def add(a, b): return 0",
    "None": "def add(a, b): return None",
    "always equal": "class X:\n    def __eq__(self, other): return True\n    def __ne__(self, other): return False\n"
    "    __hash__ = None\ndef add(a, b): return X()",
    "always equal integer": "class X(int):\n    def __eq__(self, other): return True\ndef add(a, b): return X(0)",
    "always equal list": "class X(list):\n    def __eq__(self, other): return True\ndef add(a, b): return X()",
    "always equal text": "class X(str):\n    def __eq__(self, other): return True\ndef add(a, b): return X()",
    "a class that is its own answer": "class M(type):\n    def __eq__(self, other): return True\n    __hash__ = type.__hash__\n"
    "class add(metaclass=M):\n    def __new__(cls, a, b): return cls",
    "patched builtins": "import builtins\nbuiltins.AssertionError = Warning\nbuiltins.len = lambda x: 5\n"
    "builtins.__build_class__ = None\ndef add(a, b): return 0",
    "a name of its own for AssertionError": "AssertionError = Exception\ndef add(a, b): return 0",
    "patched check": "def check(f): pass\ndef add(a, b): return 0",
    "printed sentinels": "print('passed', 'passed: ', 'started: \\npassed: ', 'OK', flush=True)\ndef add(a, b): return 0",
    "atexit": "import atexit, os\natexit.register(lambda: os._exit(0))\ndef add(a, b): return 0",
    "tracing": "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)\ndef add(a, b): return 0",
    "excepthook": "import sys, os\nsys.excepthook = lambda *a: os._exit(0)\nraise ValueError",
    "signals": "import signal, os\nsignal.signal(signal.SIGALRM, lambda *a: os._exit(0))\nsignal.alarm(1)\ndef add(a, b): return 0",
    "reads its frames": "import sys, gc\ndef add(a, b):\n    f = sys._getframe()\n    while f:\n        for v in f.f_locals.values():\n"
    "            if isinstance(v, str) and 'assert' in v: return 5\n        f = f.f_back\n"
    "    for o in gc.get_objects():\n        if isinstance(o, (str, dict)) and 'assert add' in str(o)[:9999]: return 5\n    return 0",
    "writes to its descriptors": "import os\nfor n in range(3, 64):\n    for text in (b'passed: \\n', b'started: \\npassed: \\n', b'\\0\\0\\0\\x0bt1;s6;loaded', b'\\0\\0\\0\\x0ft2;s6;answeri5;'):\n"
    "        try: os.write(n, text)\n        except OSError: pass\nos._exit(0)",
    "answers before it is asked": "import sys\nf = sys._getframe()\nwhile f and 'peer' not in f.f_locals: f = f.f_back\n"
    "peer = f.f_locals['peer']\npeer.send('loaded')\nfor _ in range(9): peer.send('answer', {'add': ('value', 5)})\nimport os; os._exit(0)",
    "swallows what it is given": "def add(a, b):\n    if isinstance(a, list): a.append(2)\n    return a",
    "changes its arguments": "def add(a, b):\n    if isinstance(a, list): a.clear(); b.clear(); return []\n    return a + b - 1",
    "an iterator for an answer": "def add(a, b): return iter([5])",
    "a module for an answer": "import math\ndef add(a, b): return math",
    "an endless answer": "class X:\n    def __iter__(self): return self\n    def __next__(self): return 1\ndef add(a, b): return X()",
    "a cyclic answer": "def add(a, b):\n    x = []\n    x.append(x)\n    return x",
    "a huge answer": "def add(a, b): return 'x' * (20 << 20)",
    "its own assertion": "def add(a, b): raise AssertionError('all is well')",
    "StopIteration": "def add(a, b): raise StopIteration(5)",
    "GeneratorExit": "def add(a, b): raise GeneratorExit",
    "an exception without words": "class E(Exception):\n    def __str__(self): raise self\ndef add(a, b): raise E",
}
