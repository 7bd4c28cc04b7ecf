#!/bin/sh
# Counts what it is sent.
printf 'Content-Type: text/plain\n\n'
echo "$(wc -c) bytes of $CONTENT_LENGTH, by $REQUEST_METHOD"
