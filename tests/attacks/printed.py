"""What could drive a terminal, and how to tell that it is not there."""

# C0 (bell, backspace, tab, line breaks, escape), DEL, C1 (NEL, CSI), characters that change the direction of text, line
# separators, characters that cannot be seen, and lone surrogates.
HOSTILE = [
    "\0",
    "\7",
    "\b",
    "\t",
    "\n",
    "\v",
    "\f",
    "\r",
    "\r\n",
    "\x1b[2J",
    "\x1b]0;title\7",
    "\x1b]8;;http://x\x1b\\",
]
HOSTILE += ["\x7f", "\x85", "\x9b2J", "\x90", "\u202e", "\u2066", "\u200f", "\u2028", "\u2029", "\u200b", "\ufeff"]
HOSTILE += ["\ud800", "\udfff", "\U000e0041"]
FORGED = "\nstorage-manager: forged\r\nstorage-manager: forged"


def is_harmless(text: str) -> bool:
    """True if a text has only printable characters and the line feeds that end its lines."""
    return all(char.isprintable() or char == "\n" for char in text)
