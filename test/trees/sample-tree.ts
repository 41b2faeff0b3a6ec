/** A directory with everything that a file system may hold, made by ordinary programs. */
import { execFileSync } from 'node:child_process';

/** Makes it in an empty directory; needs root. */
export function makeSampleTree(directory: string): void {
  const script = `
set -e
printf 'hello' > plain; chmod 4751 plain; chown 1234:56789 plain
: > empty
mkdir -p deep/er/est; echo x > deep/er/est/leaf; chmod 1777 deep; chmod 2750 deep/er
ln plain deep/second; ln plain third; ln empty deep/nothing
ln -s /etc/passwd absolute; ln -s ../../.. up; ln -s "$(printf 'a%.0s' $(seq 300))" long-target
ln -s nowhere dangling; chown -h 77:88 dangling; ln dangling dangling-too
mkfifo -m 600 pipe; mknod zero c 1 5; mknod disk b 259 1048575
mkdir "$(printf 'n%.0s' $(seq 200))"; echo y > "$(printf 'n%.0s' $(seq 200))/$(printf 'm%.0s' $(seq 250))"
echo z > "$(printf 'bad\\377name')"; echo z > 'späte'; echo z > "$(printf 'new\\nline')"; echo z > ' = '
truncate -s 3M holes; printf one | dd of=holes bs=1 seek=65536 conv=notrunc status=none
printf two | dd of=holes bs=1 seek=2097152 conv=notrunc status=none
truncate -s 1M all-hole
head -c 300000 /dev/urandom > noise
chown 4000000000:3000000000 noise
setfattr -n user.plain -v value plain; setfattr -n user.binary -v 0x000a3dff00 plain
setfattr -n user.a=b%c -v '' plain; setfattr -n user.dir -v here deep
setfacl -m u:2000000001:rw,u:7:r,g::-,g:2000000002:x,m:rx noise
setfacl -m g:8:rx deep/er; setfacl -d -m u:9:rwx,g:8:-,o:- deep/er; setfacl -d -m o:- deep/er/est
touch -d '1969-12-31 23:59:58.25 UTC' deep/er/est/leaf; touch -h -d '2001-02-03 04:05:06.789012345 UTC' dangling
touch -d '2250-01-01 00:00:00.000000001 UTC' empty; touch -d '2020-01-01 00:00:00 UTC' deep .
chmod 0711 .; chown 11:22 .
`;
  execFileSync('bash', ['-c', script], { cwd: directory, stdio: ['ignore', 'pipe', 'pipe'] });
}
