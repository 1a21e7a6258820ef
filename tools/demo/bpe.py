"""Our own BPE tokenizer in Phi-3's form: ▁ for spaces, byte fallback, the chat tokens as added tokens.

Merges are learned inside words only, so the file needs no pre-tokenizer, like Phi-3's.
"""

import json

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

BOS, UNK, END_OF_TEXT = "<s>", "<unk>", "<|endoftext|>"
USER, ASSISTANT, END, SYSTEM = "<|user|>", "<|assistant|>", "<|end|>", "<|system|>"

# Phi-3's template, character for character.
CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') %}"
    "{{'<|user|>' + '\n' + message['content'] + '<|end|>' + '\n' + '<|assistant|>' + '\n'}}"
    "{% elif (message['role'] == 'assistant') %}{{message['content'] + '<|end|>' + '\n'}}{% endif %}{% endfor %}"
)

# A word with its ▁ and at most one apostrophe inside, a number digit, punctuation, or blank lines.
_PIECE = r"▁?\p{L}+(?:['’]\p{L}+)?|▁?\p{N}|▁?[^\p{L}\p{N}▁\n]+|▁|\n+"


def _learn_merges(texts, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_PIECE), behavior="isolated")
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, limit_alphabet=160, max_token_length=16, special_tokens=[], show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return json.loads(tokenizer.to_str())["model"]


def train(texts, size):
    """texts: strings; size: the model's vocabulary, added tokens included."""
    head = [UNK, BOS, "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tail = [END_OF_TEXT, ASSISTANT, SYSTEM, END, USER]
    learned = _learn_merges(texts, size - len(head) - len(tail) - 1)
    # The template puts a newline after a special token, where the normalizer has prepended ▁: one token, not two.
    merges = [["▁", "\n"]] + [list(m) if not isinstance(m, str) else m.split(" ") for m in learned["merges"]]
    pieces = head + ["▁\n"] + sorted(learned["vocab"], key=learned["vocab"].get)
    assert len(pieces) + len(tail) == size and len(set(pieces)) == len(pieces)
    vocab = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(
        models.BPE(vocab=vocab, merges=[tuple(m) for m in merges], unk_token=UNK, fuse_unk=True, byte_fallback=True)
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A", pair=f"{BOS} $A {BOS}:1 $B:1", special_tokens=[(BOS, 1)]
    )
    # Roles and rstrip as in Phi-3's file: only <|assistant|> swallows the newline after it.
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in (UNK, BOS)])
    tokenizer.add_tokens([AddedToken("</s>", normalized=False, rstrip=True)])
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True, rstrip=t == ASSISTANT) for t in tail])
    assert tokenizer.get_vocab_size() == size
    return tokenizer
