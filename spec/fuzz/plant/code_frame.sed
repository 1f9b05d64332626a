# file: sandbox/jail/code_frame.c
# What was searched stays searched when a message is taken away before it: a newline behind it is missed.
/^    \*len = /,/^    return true/s/reader->scanned = 0;/reader->scanned = *len;/
