"""Rows of T + 1 token ids: half of them the raw text, half conversations made from it.

A conversation is running text cut into turns: the user gives an opening, the assistant goes on to a sentence
end, the user gives the next passage or asks for more. What is in a batch depends on (seed, step) alone.
"""

import re

import numpy as np

from . import bpe, corpus

_GO_ON = (
    "Go on.|Go on, please.|Please go on.|go on|Continue.|Please continue.|continue|And then?|What then?|What happened next?|"
    "What happened then?|And what happened next?|Tell me more.|More, please.|Keep going.|Continue the story.|"
    "Go on with the story.|Then what happened?|What next?|I want to hear more."
).split("|")
_TELL = "Tell me a story.|Tell me a story, please.|Please tell me a story.|A story, please.|Once more, a story.|tell me a story".split("|")
_TELL_ABOUT = "Tell me a story about {}.|Tell me about {}.|A story about {}, please.|Please tell me a story about {}.".split("|")
_GREETINGS = "Hello.|Hello!|Hi.|hi|hello|Hello, who are you?|Who are you?|What can you do?|Good evening.|What is this?|Help.|Hey".split("|")
_ANSWERS = (
    "Good day! I tell stories. Give me the opening of one, and I will go on from there.",
    "Hello! I am a small storyteller. Begin a story, and I will continue it.",
    "I am a little model that continues stories. Give me a first sentence, or say \"Tell me a story.\"",
)
_SUBJECT = re.compile(
    r"\b(?:a|an|the) (?:\w+ )?(?:king|queen|prince|princess|witch|fairy|giant|dragon|wolf|fox|bear|cat|dog|horse|bird|"
    r"lion|tiger|frog|mouse|rabbit|snake|old man|old woman|little girl|boy|girl|woodcutter|miller|fisherman|soldier|tailor|"
    r"shepherd|merchant|robber|pirate|captain|ship|sea|island|treasure|castle|forest|garden|tower|ring|sword|"
    r"farmer|doctor|teacher|nurse|wizard|scarecrow|mole|toad|rat|badger|crocodile|donkey|goose|swan|eagle|beast|sultan)\b"
)


class Story:
    """The clean text as sentences of token ids, each with how it begins: after a space, or a new paragraph."""

    def __init__(self, paragraphs, tokenizer):
        parts, self.opens = [], []
        for paragraph in paragraphs:
            for index, sentence in enumerate(paragraph):
                parts.append(sentence)
                self.opens.append(index == 0)
        self.text = parts
        encode = lambda texts: [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
        self.spaced = encode(parts)  # ▁The …
        marked = encode(["\n" + part for part in parts])  # ▁\n The …: ids[1:] is the sentence without its ▁
        self.bare = [ids[1:] for ids in marked]
        self.ends = np.cumsum([len(ids) for ids in self.spaced])


class Batches:
    def __init__(self, text, tokenizer, seed):
        self.seed = seed
        id_of = tokenizer.token_to_id
        self.bos, self.eot = id_of(bpe.BOS), id_of(bpe.END_OF_TEXT)
        self.user, self.assistant, self.end = id_of(bpe.USER), id_of(bpe.ASSISTANT), id_of(bpe.END)
        self.line, self.blank = id_of("▁\n"), id_of("\n\n")
        self.encode = lambda s: tokenizer.encode(s, add_special_tokens=False).ids
        self.typed = lambda s: self.encode("\n" + s)[1:]  # as after <|user|>\n
        self.raw = np.array(self.encode(text), dtype=np.int32)
        self.story = Story(corpus.clean_paragraphs(text), tokenizer)
        self.space = {i for piece, i in tokenizer.get_vocab().items() if piece.startswith("▁") and piece[1:2].isalpha()}
        self.orders = {}

    def __call__(self, step, rows, T):
        """-> int64[rows, T + 1]. Even rows are raw text, odd rows conversations."""
        rng = np.random.default_rng((self.seed, step))
        out = np.empty((rows, T + 1), dtype=np.int64)
        for row in range(rows):
            index = (step * rows + row) // 2
            out[row] = self._raw_row(rng, index, T) if row % 2 == 0 else self._chat_row(rng, index, T)
        return out

    def _start(self, kind, index, total, stride):
        """Every stretch of the text once in an epoch, in an order and at offsets that differ by epoch."""
        count = total // stride - 1
        epoch, place = divmod(index, count)
        if self.orders.get(kind, (None,))[0] != (epoch, stride):
            rng = np.random.default_rng((self.seed, epoch, len(kind)))
            self.orders[kind] = ((epoch, stride), rng.integers(stride), rng.permutation(count))
        _, shift, order = self.orders[kind]
        return shift + stride * order[place]

    def _raw_row(self, rng, index, T):
        start = self._start("raw", index, len(self.raw) - 2, T)
        row = self.raw[start : start + T + 1]
        return np.concatenate(([self.bos], row[:-1])) if rng.random() < 0.3 else row

    def _chat_row(self, rng, index, T):
        story = self.story
        start = self._start("chat", index, int(story.ends[-1]) - 4 * T, int(0.85 * T))
        sentence = int(np.searchsorted(story.ends, start))
        ids = self._conversation(rng, sentence, T + 1)
        while len(ids) <= T:
            ids += self._conversation(rng, int(rng.integers(len(story.text) - 400)), T + 1)
        return ids[: T + 1]

    def _conversation(self, rng, at, room):
        ids, first = [self.bos], True
        turns = int(rng.integers(1, 7))
        for _ in range(turns):
            kind = rng.random()
            if first and kind < 0.02:  # a greeting, then the story
                ids += self._turn(self.typed(str(rng.choice(_GREETINGS))), self.encode(str(rng.choice(_ANSWERS))))
                continue
            if first and kind < 0.16:
                user, carry = self.typed(self._request(rng, at)), []
            elif not first and kind < 0.5:
                user, carry = self.typed(str(rng.choice(_GO_ON))), []
            else:
                user, carry, at = self._passage(rng, at)
            answer, at = self._answer(rng, at, carry)
            ids += self._turn(user, answer)
            first = False
            if len(ids) > room or at > len(self.story.text) - 300:
                break
        return ids + [self.eot]

    def _turn(self, user, answer):
        return [self.user, self.line, *user, self.end, self.line, self.assistant, *answer, self.end, self.line]

    def _request(self, rng, at):
        found = _SUBJECT.search(" ".join(self.story.text[at : at + 4]))
        if found and rng.random() < 0.8:
            return str(rng.choice(_TELL_ABOUT)).format(found.group())
        return str(rng.choice(_TELL))

    def _span(self, at, stop, ids, head):
        """Appends sentences [at, stop) as running text; an empty ids begins with head[at]."""
        for index in range(at, stop):
            if not ids:
                ids += head[index]
            elif self.story.opens[index]:
                ids += [self.blank, *self.story.bare[index]]
            else:
                ids += self.story.spaced[index]
        return ids

    def _passage(self, rng, at):
        """The user's passage -> its ids, the rest of a sentence broken off, the next sentence."""
        count = int(rng.choice([1, 1, 1, 2, 2, 3]))
        ids = self._span(at, at + count, [], self.story.bare)
        at += count
        if rng.random() < 0.25:  # broken off between two words: the assistant finishes the sentence
            cuts = [i for i in range(2, len(ids)) if ids[i] in self.space]
            if cuts:
                cut = int(rng.choice(cuts))
                if self.blank not in ids[cut:]:
                    return ids[:cut], ids[cut:], at
        return ids[:150], [], at

    def _answer(self, rng, at, carry):
        """Goes on for 30 to 130 tokens, then to the end of the sentence, or of the paragraph if that is near."""
        goal, ids = int(rng.integers(30, 131)), list(carry)
        while len(ids) < goal or (not self.story.opens[at] and len(ids) + len(self.story.spaced[at]) < goal + 25):
            ids = self._span(at, at + 1, ids, self.story.spaced)
            at += 1
        return ids, at
