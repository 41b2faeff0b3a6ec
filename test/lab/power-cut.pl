# Ends an ext4 file system as a power cut does: what is not on the disk yet never gets there.
# usage: perl power-cut.pl MOUNTPOINT (perl, because it is on every Debian and can call ioctl)
use strict;
use warnings;
use Fcntl qw(O_RDONLY O_DIRECTORY);

my $EXT4_IOC_SHUTDOWN = 0x8004587D;    # _IOR('X', 125, __u32), fs/ext4/ext4.h
my $NO_LOG_FLUSH      = pack('L', 2);  # EXT4_GOING_FLAGS_NOLOGFLUSH: not even the journal
sysopen(my $dir, $ARGV[0], O_RDONLY | O_DIRECTORY) or die "power-cut: $ARGV[0]: $!\n";
ioctl($dir, $EXT4_IOC_SHUTDOWN, $NO_LOG_FLUSH) or die "power-cut: ioctl: $!\n";
