# file: bindings/json.c
# UTF-8: surrogates in their three-byte form are taken for characters.
s/if (c == 0xED) return (struct utf8_lead){2, 0x80, 0x9F};/if (c == 0xED) return (struct utf8_lead){2, 0x80, 0xBF};/
