#!/usr/bin/perl
# Tries each access and prints what became of it. The query gives the places; every attempt is this process's own.
use strict;
use Socket;
my %ask = map { split /=/, $_, 2 } split /&/, $ENV{QUERY_STRING};
sub slurp { open my $file, '<', $_[0] or return; local $/; return <$file> }
my $context = slurp('/proc/self/attr/current');
$context =~ s/\0//g;
sub say_for { print "$_[0]=", ($_[1] ? 'yes' : 'no'), "\n" }
print "Content-Type: text/plain\n\ncontext=$context\n";
say_for(own => defined slurp($ask{own}));
say_for(other => defined slurp($ask{other}));
say_for(public => defined slurp($ask{public}));
say_for(write => (open my $own, '>>', $ask{own}));
socket my $socket, PF_INET, SOCK_STREAM, 0;
say_for(connect => connect $socket, sockaddr_in($ask{port}, INADDR_LOOPBACK));
say_for(signal => kill CONT => $ask{victim});
