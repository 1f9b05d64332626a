# A line that matches is numbered, and forgotten when the next ones are counted.
s/\.line = ++scan->line/.line = scan->line + 1/
