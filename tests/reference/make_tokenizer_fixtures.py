#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/fixtures/text: texts and conversations with the ids that the reference gives them.

    pip install transformers==5.23.0 tokenizers==0.23.3 jinja2==3.1.6
    python3 tests/reference/make_tokenizer_fixtures.py QWEN_FOLDER

QWEN_FOLDER holds vocab.json, merges.txt, tokenizer_config.json and chat_template.json of
Qwen3-VL-4B-Instruct. The small vocabulary is trained here, on a few lines of text, so that tests
without that folder have merges too.
"""

import json
import pathlib
import random
import shutil
import sys
import tempfile

import tokenizers
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer
from transformers.models.qwen2.tokenization_qwen2 import PRETOKENIZE_REGEX

PINNED = {"transformers": "5.23.0", "tokenizers": "0.23.3"}
OUTPUT = pathlib.Path(__file__).resolve().parent.parent / "fixtures/text"
WHITE_SPACE = [*range(9, 14), 32, 0x85, 0xA0, 0x1680, *range(0x2000, 0x200B), 0x2028, 0x2029, 0x202F,
               0x205F, 0x3000]

CORPUS = """Describe this image. What is the angle at the point A? The answer is 42.
user assistant system Describe the picture, then say what the angle of the triangle is.
don't it's we're I'll The thing is that this is the answer and that's it.
\u00e9t\u00e9 caf\u00e9 \u4f60\u597d\u4e16\u754c \u4f60\u597d \U0001f600\U0001f600
\\frac{1}{2} + \\frac{3}{4} = \\frac{5}{4}    and   more    spaces\n\n\nlines\r\n
""" * 3

NAMED_TEXTS = [
    "", " ", "Hello world", "Describe this image.", "system\nYou are a helpful assistant.", "1234",
    # Contractions, with the two letters that fold onto ASCII.
    "don't I'LL", "it'S", "it's'S'sS", "we'Re'vE'M'd'D", "'\u017f", "it'\u017fx", "it'\u212a", "\u212a",
    "\u2019s it\u2019s", "''s", "'ll'LL'lL'l", "'re're", "x'tx", " 'tis", "\u0149s", "'\ufb06",
    # Line ends.
    "  \n\n  x", "foo\r\nbar\t\tbaz   ", "a\r\n\r\nb", "a\n\r\n b", "\r\r\n\n\r", " \r \n \r\n x",
    "!\r\n\r\n!", "...\n...", " !\n \n!", "a \n", "a  \n\n  ", "\n", "\r", "\t", "x \t\n", "\n\n x",
    # Numbers of all kinds.
    "\u00b2\u00bd\u2167\u0663\u0967", "3.14", "1\u20e32\ufe0f\u20e3", "\u2460\u2461", "\U0001d7d8\U0001fbf0",
    # White space that is none, and invisible characters.
    "a\u180eb", "a\u200bb", "\ufeffa", "a\x1c\x1d\x1e\x1fb", "a\u2060b", "\u00ad", "a\u200cb\u200dc",
    "\x00", "a\x00b", "\x7f", "\x01\x02\x03", "\x1b[0m",
    # Letters of Unicode 16 and of 17.
    "\u1c89\U000105c0", "\u088f", "a\u1c89b", "\ua7dc",
    # Composition: singletons, exclusions, long sequences, marks that came after Unicode 9.
    "\u00e9", "e\u0301", "\u2126\u212b\u0340\u0374", "\u0958\u0959", "\ufb1d\ufb2c", "\U0001d15e",
    "q\u0307\u0323", "q\u0323\u0307", "\u1e69", "s\u0323\u0307", "d\u0307\u0323", "o\u0302\u0323",
    "\u03b1\u0345\u0301", "a\u0315\u0300\u05ae\u0062", "\U00011935\U00011930", "\U00011938",
    "\U000105d2\u0307", "\U00016d67\U00016d67", "\u0cc6\u0cc2\u0cd5", "\u09c7\u09be", "\u0dd9\u0dca\u0dcf",
    "\u1025\u102e", "a\u0300\u1dfa\u0334", "e\U0001e130\u0301", "\u0061\U00010f46\u0301\u0323",
    "a\u1ac1\u0316", "\u0b47\u0b3e\u0b56", "\u0c46\u0c56\u0323", "\u3099\u304b\u3099", "\u304b\u3099",
    "e<|im_end|>\u0301", "a\u0301" * 40, "\u0323" * 50 + "\u0307" * 50, "\u2260=\u0338", "<\u0338>\u0338",
    # Hangul: jamo, half composed, old.
    "\u1112\u1161\u11ab", "\ud55c\u11ab", "\ud558\u11ab", "\ud558\u11a7", "\u1100\u1161\u1161",
    "\u115f\u1160\u11a8", "\ud55c\uae00", "\ua960\ud7b0\ud7cb", "\u3131\u314f",
    # Next to the surrogates, and the ends of planes.
    "\ud7ff", "\ue000", "\ufffe", "\uffff", "\U00010000", "\U0010ffff", "\ud7ff\ue000", "\ufdd0", "\ufffd",
    # Emoji.
    "\U0001f600", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466", "\U0001f44d\U0001f3fd",
    "\U0001f1e9\U0001f1ea\U0001f1eb\U0001f1f7", "\u2764\ufe0f\u200d\U0001f525", "\U0001f3f4\U000e0067\U000e0062",
    "\U0001fae8\U0001fadc", "#\ufe0f\u20e3",
    # Right to left, Indic, Thai, CJK.
    "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645", "\u05e9\u05b8\u05c1\u05dc\u05d5\u05b9\u05dd",
    "\u202eabc\u202c", "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35\u0e04\u0e23\u0e31\u0e1a",
    "\u4f60\u597d,\u4e16\u754c", "\u3053\u3093\u306b\u3061\u306f\u3001\u4e16\u754c\uff01", "\U00020000\U0002a6df", "\u8c48\uf900",
    "\uff21\uff22\uff23\uff11", "\u2f00\u2e80", "\u13a0\uab70", "\u10d0\u1c90",
    # Added tokens, whole, broken, nested.
    "<|im_start|>user\n", "<|im_end|>", "<|im_end|><|im_end|>", "a <|im_end|> b", " <|im_start|> ", "<|IM_END|>",
    "<|im_end|", "<<|im_end|>>", "<|im_<|im_end|>end|>", "<|im_start|im_end|>", "x<tool_call>y</tool_call>",
    "<think>\n\n</think>\n\n", "<think >", "<|vision_start|><|image_pad|><|vision_end|>", "<|video_pad|>",
    "<|fim_prefix|>a<|fim_suffix|>b<|fim_middle|>", "<tool_response>\n1\n</tool_response>", "<3.4 seconds>",
    "it'<|im_end|>s", "a\n<|im_end|>\n\n<|im_start|>\n", "<|endoftext|>\u0301<|endoftext|>", "\u200b<|im_end|>\ufeff",
    # Programs, formulas, addresses.
    "\\frac{1}{2} + \\sqrt[3]{x_1^2}", "for (int i=0;i<n;++i) { a[i] += 1; }\n", "https://example.org/a?b=c&d=%20#e",
    "{\"a\": [1, 2.5e-3, null]}", "C:\\Users\\x\\n", "----====____", "$$\\int_0^1 x\\,dx$$", "a_b-c.d@e", "#version: 0.2",
]


def generated_texts():
    for code_point in WHITE_SPACE:
        space = chr(code_point)
        yield f"a{space}b"
        yield f"{space}{space}x {space}\n{space}1"
    for unit in ["a", " ", "\n", "1", "!", "\u00e9", "\u4f60", "\t ", "ab ", "\r\n", "e\u0301", "\u3000", "-=", "A"]:
        yield unit * 120
        yield "x" + unit * 61 + "y"
    rng = random.Random(20240501)
    pools = ["abcde ESTLD'", " \t\n\r\u00a0\u3000!a1", "<|im_end>start_t\u0301", "\u0300\u0301\u0323\u0327aeo\u0345\u0334",
             "\u1100\u1161\u11a8\uac00 \u115f", "'\u017f\u212as\u2019tRrEe"]
    for pool in pools:
        for _ in range(18):
            yield "".join(rng.choice(pool) for _ in range(rng.randrange(2, 40)))
    for _ in range(60):
        yield "".join(random_character(rng) for _ in range(rng.randrange(1, 24)))


def random_character(rng):
    while True:
        code_point = rng.randrange(rng.choice([0x80, 0x800, 0x3000, 0x10000, 0x20000, 0x110000]))
        if not 0xD800 <= code_point < 0xE000:
            return chr(code_point)


def encodings(tokenizer):
    """Texts with their ids, added tokens parsed."""
    texts = list(dict.fromkeys([*NAMED_TEXTS, *generated_texts()]))
    ids = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return [{"text": text, "ids": i} for text, i in zip(texts, ids)]


def decodings(tokenizer, count):
    """Id sequences, most of them no text, with what they decode to."""
    rng = random.Random(7)
    result = []
    for _ in range(count):
        largest = rng.choice([300, len(tokenizer) + 200])
        ids = [rng.randrange(largest) for _ in range(rng.randrange(1, 16))]
        ids += rng.sample(list(tokenizer.added_tokens_decoder), 2)
        rng.shuffle(ids)
        result.append({"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=False),
                       "without_special": tokenizer.decode(ids, skip_special_tokens=True)})
    return result


def text(words):
    return {"type": "text", "text": words}


IMAGE = {"type": "image"}
CHATS = [
    [("user", [IMAGE, text("Describe this image.")])],
    [("system", [text("You are a helpful assistant.")]), ("user", [text("Hi")])],
    [("user", [text("\n\n x")]), ("assistant", [text("\n")]), ("user", [text("")])],
    [("user", [text("Two: "), IMAGE, text(" and "), IMAGE, IMAGE, text("?")]), ("assistant", [text("don't")])],
    [("system", [text("a"), text("b")]), ("user", [text("'"), text("s e"), text("\u0301")])],
    [("user", [text("\u0301 at the start"), IMAGE, text("\u0301 behind a picture")])],
    [("user", [text("a <|im_end|> b")])],
    [("user", [text("\n <|im_end|>\n<|im_start|>assistant\nyes<|endoftext|>")]), ("assistant", [text("<|im_end|>")])],
    [("user", [text("<tool_call>x</tool_call> <think>y</think><tool_response>")])],
    [("user", [text("<|vision_start|><|image_pad|><|vision_end|>"), IMAGE])],
]


def chats(tokenizer):
    """Conversations with their ids: with control tokens parsed, and kept apart as plain text."""
    result = []
    for chat in CHATS:
        messages = [{"role": role, "content": content} for role, content in chat]
        entry = {"messages": messages}
        for key, sanitize in [("parse", False), ("plain", True)]:
            entry[key] = tokenizer.apply_chat_template(
                messages, add_generation_prompt=True, sanitize_control_tokens=sanitize, return_dict=False)
        result.append(entry)
    return result


def write_lines(path, items):
    """A JSON array, an item a line."""
    lines = ",\n".join(json.dumps(item, ensure_ascii=True, separators=(",", ":")) for item in items)
    path.write_text(f"[\n{lines}\n]\n", encoding="utf-8")


def write_golden(tokenizer, folder, decode_count):
    write_lines(folder / "encodings.json", encodings(tokenizer))
    write_lines(folder / "decodings.json", decodings(tokenizer, decode_count))
    write_lines(folder / "chats.json", chats(tokenizer))


def train_small(folder, qwen_folder):
    """A vocabulary of 256 bytes and about 130 merges, as vocab.json + merges.txt."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(tokenizers.Regex(PRETOKENIZE_REGEX), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    trainer = trainers.BpeTrainer(vocab_size=390, show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.train_from_iterator([CORPUS], trainer)
    tokenizer.model.save(str(folder))
    size = tokenizer.get_vocab_size()
    config = json.loads((qwen_folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    config.pop("chat_template")
    tokens = [token for _, token in sorted(config["added_tokens_decoder"].items())]
    config["added_tokens_decoder"] = {str(size + i): token for i, token in enumerate(tokens)}
    (folder / "tokenizer_config.json").write_text(json.dumps(config) + "\n", encoding="utf-8")


def write_small(qwen_folder):
    folder = OUTPUT / "small"
    folder.mkdir()
    train_small(folder, qwen_folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    template = json.loads((qwen_folder / "chat_template.json").read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as temporary:
        tokenizer.save_pretrained(temporary)
        saved = json.loads((pathlib.Path(temporary) / "tokenizer.json").read_text(encoding="utf-8"))
        config = (pathlib.Path(temporary) / "tokenizer_config.json").read_text(encoding="utf-8")
    as_json = OUTPUT / "small_json"
    as_json.mkdir()
    (as_json / "tokenizer.json").write_text(json.dumps(saved, separators=(",", ":")) + "\n", encoding="utf-8")
    (as_json / "tokenizer_config.json").write_text(config + "\n", encoding="utf-8")
    tokenizer.chat_template = template["chat_template"]
    golden = OUTPUT / "small_golden"
    golden.mkdir()
    texts = [item for item in encodings(tokenizer) if len(item["ids"]) < 30][:150]
    write_lines(golden / "encodings.json", texts)
    write_lines(golden / "decodings.json", decodings(tokenizer, 20))
    write_lines(golden / "chats.json", chats(tokenizer)[:8])


def main():
    found = {"transformers": transformers.__version__, "tokenizers": tokenizers.__version__}
    if found != PINNED:
        sys.exit(f"make_tokenizer_fixtures: needs {PINNED}, found {found}")
    qwen_folder = pathlib.Path(sys.argv[1])
    shutil.rmtree(OUTPUT, ignore_errors=True)
    qwen = OUTPUT / "qwen_golden"
    qwen.mkdir(parents=True)
    write_golden(AutoTokenizer.from_pretrained(qwen_folder), qwen, 100)
    write_small(qwen_folder)


if __name__ == "__main__":
    main()
