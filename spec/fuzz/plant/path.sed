# file: sandbox/path.c
# `..` behind one name goes above the root: the first name stays.
/^static size_t parent_len/,/^}/s/len > 0 \&\& out\[--len\]/len > 1 \&\& out[--len]/
