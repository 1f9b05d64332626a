# A CR that ends a piece forgets that a LF may follow in the next one: one line end becomes two.
s/p->after_cr = \*eol == '\\r';/p->after_cr = *eol == '\\r' \&\& eol + 1 < end;/
