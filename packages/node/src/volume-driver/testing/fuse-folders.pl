# A FUSE file system of empty folders, for tests of those who look at a mount from outside.
# usage: perl fuse-folders.pl MOUNTPOINT FOLDER...; prints "ready", serves until it is killed.
# A folder named "slow" is never answered for. Speaks the protocol of linux/fuse.h, version 7.31.
use strict;
use warnings;
use Fcntl qw(O_RDWR);

my ($target, @folders) = @ARGV;
syscall(157, 1, 9);    # prctl(PR_SET_PDEATHSIG, SIGKILL): never outlive the test
sysopen(my $device, '/dev/fuse', O_RDWR) or die "/dev/fuse: $!\n";
my $data = sprintf('fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other', fileno $device);
my ($source, $type) = ('fuse-folders', 'fuse');
syscall(165, $source, $target, $type, 6, $data) == 0 or die "mount: $!\n";    # nosuid, nodev
$| = 1;
print "ready\n";

sub attributes { my ($node) = @_; return pack('Q6L10', $node, (0) x 8, 040755, 2, 0, 0, 0, 4096, 0) }
my %answers = (
    1 => sub {                                                                  # lookup
        my ($name) = unpack('Z*', $_[1]);
        return undef if $name eq 'slow';
        my ($at) = grep { $folders[$_] eq $name } 0 .. $#folders;
        return -2 unless defined $at;
        return pack('Q4L2', $at + 2, 0, 0, 0, 0, 0) . attributes($at + 2);
    },
    3  => sub { pack('QL2', 0, 0, 0) . attributes($_[0]) },                     # getattr
    17 => sub { pack('Q5L10', (0) x 5, 4096, 255, 4096, (0) x 7) },             # statfs
    26 => sub { pack('L4S2L2S2L8', 7, 31, 0, 0, 12, 9, 4096, 1, 0, 0, (0) x 8) },    # init
    27 => sub { pack('QL2', 1, 0, 0) },                                         # opendir
    28 => sub { '' },                                                           # readdir: empty
    29 => sub { '' },                                                           # releasedir
    30 => sub { '' },                                                           # fsyncdir
);
while (sysread($device, my $request, 1 << 17)) {
    my (undef, $opcode, $unique, $node) = unpack('L2Q2', $request);
    next if $opcode == 2 || $opcode == 36 || $opcode == 42;                     # forget, interrupt
    my $act    = $answers{$opcode};
    my $answer = $act ? $act->($node, substr($request, 40)) : -38;              # ENOSYS
    next unless defined $answer;
    my $error = $answer =~ /^-\d+$/ ? $answer : 0;
    $answer = '' if $error;
    syswrite($device, pack('LlQ', 16 + length $answer, $error, $unique) . $answer);
}
