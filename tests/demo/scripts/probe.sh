#!/bin/bash
# Tries each access and prints what became of it. The query gives the places; every attempt is this process's own.
printf 'Content-Type: text/plain\n\n'
IFS='&' read -ra pairs <<< "$QUERY_STRING"
for pair in "${pairs[@]}"; do declare "${pair%%=*}=${pair#*=}"; done
read -r -d '' context < /proc/self/attr/current
echo "context=$context"
attempt() { if eval "$2" 2> /dev/null; then echo "$1=yes"; else echo "$1=no"; fi; }
attempt own 'read -r _ < "$own"'
attempt other 'read -r _ < "$other"'
attempt public 'read -r _ < "$public"'
attempt write 'echo "$context" >> "$own"'
attempt connect 'exec 3<> "/dev/tcp/127.0.0.1/$port"'
attempt signal 'kill -CONT "$victim"'
