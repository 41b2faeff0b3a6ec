#!/bin/sh
# Keeps a mount alive: owns the descriptor of /dev/fuse, so that the mount daemon may die or be
# replaced without any process losing its open files. POSIX sh; runs with dash, bash and busybox,
# with the mount of util-linux or of busybox.
#
#   keeper.sh MOUNTPOINT STATE_DIRECTORY COMMAND [ARGUMENT ...]
#
# COMMAND is the mount daemon; it finds /dev/fuse as descriptor 3. Its exit status means:
#   0   the file system was unmounted: the keeper ends too
#   78  it can never work like this (EX_CONFIG): unmount and end with 78
#   *   start it again, at once at first, then at growing distances
# Signals: TERM, INT: unmount and end. HUP: replace the daemon (upgrade).
# Files in STATE_DIRECTORY: keeper.pid, daemon.pid, restarts, and what the daemon leaves to its successor.
set -u

if [ $# -lt 3 ]; then
  echo "usage: keeper.sh MOUNTPOINT STATE_DIRECTORY COMMAND [ARGUMENT ...]" >&2
  exit 2
fi
mountpoint=$1
state=$2
shift 2

# Seconds that a daemon must have run for its death to count as the first in a row.
healthy_seconds=10
# Seconds that files still open at the end may keep the mount, out of sight, before it is cut off.
linger_seconds=10

daemon=
stopping=
replacing=
failures=0
# Times that the daemon ended without being asked to, for who looks after the host.
restarts=0

say() {
  echo "keeper: $*" >&2
}

is_mounted() {
  # The kernel writes blanks in paths as \040 there.
  escaped=$(printf '%s' "$mountpoint" | sed 's/\\/\\134/g; s/ /\\040/g')
  while read -r _ where type _; do
    if [ "$where" = "$escaped" ] && [ "$type" = fuse.holdfast ]; then
      return 0
    fi
  done </proc/mounts
  return 1
}

# Whether a process is a keeper or mount daemon: both have the device as descriptor 3.
holds_device() {
  [ "$(readlink "/proc/$1/fd/3" 2>/dev/null)" = /dev/fuse ]
}

# A mount whose keeper and daemon are gone answers ENOTCONN for ever; nothing of it can be saved.
replace_dead_mount() {
  for file in "$state/keeper.pid" "$state/daemon.pid"; do
    owner=$(cat "$file" 2>/dev/null)
    if [ -n "$owner" ] && holds_device "$owner"; then
      say "process $owner serves $mountpoint already: unmount it first"
      exit 78
    fi
  done
  say "unmounting what a killed keeper left at $mountpoint"
  umount -l "$mountpoint" || exit 78
}

mount_device() {
  if ! (: <>/dev/fuse) 2>/dev/null; then
    say "cannot open /dev/fuse: load the fuse module, or give the container the device"
    exit 78
  fi
  exec 3<>/dev/fuse
  # -i: no helper program; the kernel is told the descriptor itself.
  if ! mount -i -t fuse.holdfast \
    -o fd=3,rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other \
    holdfast "$mountpoint"; then
    say "cannot mount at $mountpoint: a directory and the right to mount (root, CAP_SYS_ADMIN) are needed"
    exit 78
  fi
}

# Another connection: whatever an earlier one left has no meaning.
forget_state() {
  rm -rf "$state/restarts" "$state/init.json" "$state/handles" "$state/locks" "$state/watermark" "$state/session"
}

start_daemon() {
  started=$(date +%s)
  "$@" &
  daemon=$!
  echo "$daemon" >"$state/daemon.pid"
}

# Waits for the daemon to end; a trapped signal only interrupts the wait.
wait_daemon() {
  while :; do
    wait "$daemon"
    status=$?
    kill -0 "$daemon" 2>/dev/null || break
  done
}

# In the background, since only the daemon, which must go on meanwhile, can let an unmount finish.
unmount() {
  (
    if umount "$mountpoint" 2>/dev/null; then
      exit 0
    fi
    is_mounted || exit 0
    say "files are open below $mountpoint: unmounting it from sight"
    umount -l "$mountpoint"
    left=$linger_seconds
    while [ "$left" -gt 0 ] && holds_device "$1"; do
      sleep 1
      left=$((left - 1))
    done
    # Without the daemon and the keeper the connection ends, and with it the last open file.
    if holds_device "$1"; then
      kill -KILL "$1"
    fi
  ) 3>&- &
}

on_term() {
  if [ -n "$stopping" ]; then
    return
  fi
  stopping=1
  unmount "${daemon:-0}"
}

on_hup() {
  if [ -n "$daemon" ]; then
    replacing=1
    kill -TERM "$daemon" 2>/dev/null
  fi
}

clean_up() {
  exec 3>&-
  rm -f "$state/daemon.pid" "$state/keeper.pid"
}

mkdir -p "$state" || exit 78
if is_mounted; then
  replace_dead_mount
fi
forget_state
trap on_term TERM INT
trap on_hup HUP
mount_device
echo $$ >"$state/keeper.pid"

while :; do
  start_daemon "$@"
  wait_daemon
  if [ "$status" -eq 0 ] || { [ -n "$stopping" ] && ! is_mounted; }; then
    clean_up
    # Nobody succeeds this daemon. The log of whoever started the keeper goes as well: it ended well.
    forget_state
    rm -f "$state/log"
    rmdir "$state" 2>/dev/null
    exit 0
  fi
  if [ "$status" -eq 78 ]; then
    umount -l "$mountpoint"
    clean_up
    exit 78
  fi
  if [ ! -e "$state/init.json" ]; then
    # The kernel introduces itself only once; nobody can have used this connection yet.
    say "the mount daemon ended with status $status before it was ready: mounting again"
    umount -l "$mountpoint"
    exec 3>&-
    forget_state
    mount_device
  fi
  if [ $(($(date +%s) - started)) -ge "$healthy_seconds" ]; then
    failures=0
  fi
  failures=$((failures + 1))
  if [ -z "$replacing" ]; then
    restarts=$((restarts + 1))
    echo "$restarts" >"$state/restarts"
  fi
  replacing=
  say "the mount daemon ended with status $status: starting it again"
  case $failures in
    1 | 2) ;;
    3 | 4) sleep 0.2 ;;
    5 | 6) sleep 1 ;;
    *) sleep 5 ;;
  esac
done
