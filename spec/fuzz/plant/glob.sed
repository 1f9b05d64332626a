# After a false start the search goes on behind the text instead of at its second byte.
/^static const char \*find_text/,/^}/s/^        at++;/        at += len;/
