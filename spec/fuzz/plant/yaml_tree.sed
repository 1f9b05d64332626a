# A key `~` is taken for null, as a value would be.
s/bool is_null = !is_key \&\& /bool is_null = /
