#!/bin/sh
# Tells who asked, and for what.
printf 'Content-Type: text/plain\n\n'
echo "report for ${REMOTE_USER:-nobody known}: $PATH_INFO $QUERY_STRING"
