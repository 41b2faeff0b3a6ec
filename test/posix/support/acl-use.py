"""Random use of POSIX ACLs by several users below the working directory; the same for the same seed.

acl-use.py SEED STEPS: prints how each step ended, and then what every file has, a line each.
"""

import errno
import os
import random
import subprocess
import sys

# User, group, further groups: named users and groups of the ACLs, and some who are neither.
USERS = [
    *[(0, 0, [])] * 4,
    (4001, 5001, []),
    (4002, 5001, [5002]),
    (4003, 5003, [5002, 5001]),
    (4004, 5004, []),
]
UMASKS = [0o022, 0o077, 0o002, 0o000, 0o027]
MODES = [0o666, 0o777, 0o777, 0o755, 0o750, 0o640, 0o2775, 0o2757, 0o4755, 0o1777, 0o070, 0o007]
RIGHTS = ["rwx", "rwx", "rwx", "r-x", "r-x", "rw-", "r--", "-wx", "--x", "---"]
WHOM = ["u:", "g:", "o:", "m:", "u:4001", "u:4002", "u:4004", "g:5001", "g:5002", "g:5003"]
NAMES = [chr(ord("a") + number) for number in range(12)]


class Failed(Exception):
    """A program that was refused."""


def as_user(user, umask, act):
    """What an act of a user ends with: 'ok', an errno's name, or what it answers."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        uid, gid, groups = user
        os.close(read)
        try:
            os.setgroups(groups)
            os.setresgid(gid, gid, gid)
            os.setresuid(uid, uid, uid)
            os.umask(umask)
            result = act() or "ok"
        except OSError as error:
            result = errno.errorcode[error.errno]
        except Failed as error:
            result = str(error)
        os.write(write, result.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        result = answer.read()
    os.waitpid(child, 0)
    return result


def setfacl(arguments):
    done = subprocess.run(["setfacl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Failed(done.stderr.strip().rsplit(": ", 1)[-1])


def make(path, mode):
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode))


def look(path):
    return ",".join(sorted(os.listdir(path)))


def use(path, flags):
    os.close(os.open(path, flags))


def entries(dice):
    """Entries for setfacl -m: of the owners, of others, of the mask, and of whom the ACL names."""
    chosen = dice.sample(WHOM, dice.randint(1, 4))
    return ",".join(f"{who}:{dice.choice(RIGHTS)}" for who in chosen)


def paths():
    found = ["."]
    for directory, below, files in os.walk("."):
        found += [os.path.join(directory, name) for name in sorted(below) + sorted(files)]
        below.sort()
    return sorted(found)


def step(dice):
    """One act, as text and as a function."""
    there = paths()
    path = dice.choice(there)
    directory = dice.choice([one for one in there if os.path.isdir(one) and not os.path.islink(one)])
    new = os.path.join(directory, dice.choice(NAMES))
    mode = dice.choice(MODES)
    spec = entries(dice)
    kind = dice.choices(
        ["make", "mkdir", "mkfifo", "symlink", "modify", "default", "remove", "strip", "strip-default",
         "chmod", "chown", "read", "write", "list", "unlink"],
        [22, 12, 3, 2, 12, 12, 2, 2, 1, 10, 4, 12, 10, 6, 3],
    )[0]
    acts = {
        "make": (new, lambda: make(new, mode)),
        "mkdir": (new, lambda: os.mkdir(new, mode)),
        "mkfifo": (new, lambda: os.mkfifo(new, mode)),
        "symlink": (new, lambda: os.symlink("a", new)),
        "modify": (path, lambda: setfacl(["-m", spec, path])),
        "default": (directory, lambda: setfacl(["-d", "-m", spec, directory])),
        "remove": (path, lambda: setfacl(["-x", "u:4001,g:5002", path])),
        "strip": (path, lambda: setfacl(["-b", path])),
        "strip-default": (directory, lambda: setfacl(["-k", directory])),
        "chmod": (path, lambda: os.chmod(path, mode)),
        "chown": (path, lambda: os.chown(path, dice.choice([-1, 4001, 4002]), 5002, follow_symlinks=False)),
        "read": (path, lambda: use(path, os.O_RDONLY | os.O_NONBLOCK)),
        "write": (path, lambda: use(path, os.O_RDWR | os.O_NONBLOCK)),
        "list": (directory, lambda: look(directory)),
        "unlink": (path, lambda: os.rmdir(path) if os.path.isdir(path) else os.unlink(path)),
    }
    name, act = acts[kind]
    return f"{kind} {name} {oct(mode)} {spec}", act


def attributes(path):
    stats = os.lstat(path)
    shown = f"{path} {stats.st_mode:o} {stats.st_uid}:{stats.st_gid}"
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        shown += f" {name}={os.getxattr(path, name, follow_symlinks=False).hex()}"
    return shown


def main():
    dice = random.Random(int(sys.argv[1]))
    os.chmod(".", 0o777)
    os.chown(".", 4002, 5001)
    for _ in range(int(sys.argv[2])):
        user = dice.choice(USERS)
        umask = dice.choice(UMASKS)
        text, act = step(dice)
        print(f"{user[0]} {umask:03o} {text}: {as_user(user, umask, act)}")
    for path in paths():
        print(attributes(path))
    judged = [path for path in paths() if not os.path.islink(path)]
    told = subprocess.run(["getfacl", "-n", "-p", *judged], capture_output=True, text=True, check=True)
    print(told.stdout)


main()
