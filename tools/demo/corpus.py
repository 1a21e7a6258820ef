"""The training text in two forms: the raw file, and clean paragraphs of sentences for conversations.

The raw form is the file as it stands, wrapped lines and all. The clean form is what a person types:
one line per paragraph, straight quotes, no headings, no verse. Bits per byte are measured on the raw form.
"""

import re

_ABBREVIATION = re.compile(r"(?:^|[\s\"'(])(?:Mr|Mrs|Ms|Dr|St|Prof|Capt|Messrs|Esq|Rev|[A-Z])\.$")
_SENTENCE_END = re.compile(r"(?<=[.!?])[\"')]*\s+(?=[\"'(]*[A-Z])")


_SLUR = re.compile(r"nigg|\bdark(?:y|ies)\b|\bcoons?\b|\binjuns?\b|\bsquaw", re.IGNORECASE)  # words of 1884 we do not teach
_DIALECT = re.compile(r"\b(?:de|dat|dey|wuz|uz|en|ole|warn't|ain't)\b")


def read_text(path):
    with open(path, encoding="utf-8", newline="") as file:
        return file.read().replace("\r\n", "\n")


def read_training_text(path):
    """The text less the paragraphs with slurs (about 1 in 200, nearly all from one book)."""
    return "\n\n".join(part for part in read_text(path).split("\n\n") if not _SLUR.search(part))


def straight_quotes(text):
    """Dialogue in "…", apostrophes as '. A single closing quote is told from an apostrophe by the
    punctuation before it, a single opening one by the capital after it."""
    text = text.replace("“", '"').replace("”", '"').replace("\u2018", '"')
    text = re.sub(r"(?<=[,.!?;-])\u2019(?=\s|$)", '"', text).replace("\u2019", "'")
    text = re.sub(r"(?:(?<=\s)|^)'(?=[A-Z])", '"', text)
    return re.sub(r"(?<=[,.!?;-])'(?=\s|$)", '"', text)


def clean_paragraph(paragraph):
    """One line of plain prose, or None for headings, verse, lists, notes and scanner's debris."""
    lines = [line for line in paragraph.split("\n") if line.strip()]
    if not lines or any(line.startswith("   ") for line in lines):
        return None
    if len(lines) > 2 and max(map(len, lines)) < 55:
        return None  # verse
    text = " ".join(" ".join(lines).replace("\xa0", " ").split())
    text = straight_quotes(text.replace("_", "").replace("—", "--"))
    text = re.sub(r"\[[^\]]*\]", "", text).strip()
    if not re.search(r"[.!?,;:-][\"')]*$", text) or re.search(r"[*|=#{}@\[\]]|\d{3}|CHAPTER|Chapter", text):
        return None
    if _DIALECT.search(text):
        return None  # spelled as spoken: kept in the raw form only
    letters = [c for c in text if c.isalpha()]
    if len(letters) < 8 or sum(c.isupper() for c in letters) > 0.3 * len(letters):
        return None
    return text


def sentences(paragraph):
    """Splits after . ! ? where a capital follows; abbreviations do not end a sentence."""
    parts, start = [], 0
    for match in _SENTENCE_END.finditer(paragraph):
        head = paragraph[start : match.end()].rstrip()
        if _ABBREVIATION.search(head):
            continue
        parts.append(head)
        start = match.end()
    parts.append(paragraph[start:].rstrip())
    return [part for part in parts if part]


def clean_paragraphs(text):
    """[[sentence, …], …] in the order of the text."""
    cleaned = (clean_paragraph(part) for part in re.split(r"\n\s*\n", text))
    return [sentences(paragraph) for paragraph in cleaned if paragraph]
