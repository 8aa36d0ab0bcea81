"""The byte-pair encoding: what it promises of any text, how pairs are learnt, and its file."""

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from systolith.gen.errors import UserError
from systolith.gen.language.tokenizer import BYTES, Tokenizer, joined, load_tokenizer
from tests.examples import TEXT, example_module

pairs = example_module(TEXT, "pairs")
TOKENIZER = load_tokenizer(TEXT / "tokenizer.json")
SENTENCES = st.text(st.sampled_from("the list of_3.()\n\t é→😀\r\x00"), max_size=60)


@given(st.text() | SENTENCES)
@example("The list ")
@example("  \n\n   a_b  3.14\u2028 x\t\ty ")
def test_any_text_comes_back(text: str) -> None:
    tokens = TOKENIZER.encode(text)
    assert TOKENIZER.decode(tokens) == text
    assert b"".join(map(TOKENIZER.text_bytes, tokens)) == text.encode()
    assert all(0 <= token < TOKENIZER.end for token in tokens)


@given(SENTENCES, SENTENCES)
def test_words_are_cut_the_same_wherever_they_stand(before: str, after: str) -> None:
    left = before + "word "
    assert TOKENIZER.encode(f"{left}Word{after}")[:len(TOKENIZER.encode(left))] == TOKENIZER.encode(left)


def test_the_sizes_are_as_trained() -> None:
    assert (TOKENIZER.size, TOKENIZER.end, len(TOKENIZER.pairs)) == (1024, 1023, 1024 - BYTES - 1)
    assert len(set(map(TOKENIZER.text_bytes, range(TOKENIZER.end)))) == TOKENIZER.end
    assert len(TOKENIZER.encode("The list ")) == 2


def test_end_says_nothing() -> None:
    tokens = TOKENIZER.encode("one ")
    assert TOKENIZER.decode([TOKENIZER.end, *tokens, TOKENIZER.end]) == "one "
    assert TOKENIZER.text_bytes(TOKENIZER.end) == b""


def test_what_is_no_utf8_is_replaced() -> None:
    assert TOKENIZER.decode([0xC3]) == "\ufffd"
    assert TOKENIZER.decode(TOKENIZER.encode("a\ud800b")) == "a?b"


def test_pairs_join_in_the_order_in_which_they_were_learnt() -> None:
    a, b, c = b"abc"
    first = Tokenizer([(b, c), (a, b), (a, 256)])
    assert first.encode("abc") == [258]
    assert first.encode("abab") == [257, 257]
    assert Tokenizer([(a, b), (b, c)]).encode("abc") == [256, c]
    assert joined([a, a, a], (a, a), 256) == [256, a]


def test_learning_takes_the_most_frequent_pair_and_then_the_smallest() -> None:
    tokenizer = pairs.learn(["abab abab abab", "cd ", "ab"], BYTES + 1 + 4)
    a, b, space = b"ab "
    assert tokenizer.pairs == ((a, b), (256, 256), (257, space), tuple(b"cd"))


def test_no_token_is_longer_than_the_longest() -> None:
    tokenizer = pairs.learn(["x" * 64, "yz" * 3], BYTES + 1 + 8)
    assert max(len(tokenizer.text_bytes(token)) for token in range(tokenizer.size)) == pairs.LONGEST
    assert (ord("y"), ord("z")) in tokenizer.pairs


def test_learning_counts_pairs_anew_after_each_join() -> None:
    texts = ["the theme of these themes is there ", "a list of lists is listed in the listing "]
    tokenizer = pairs.learn(texts, BYTES + 1 + 30)
    for rank in range(30):
        before = Tokenizer(tokenizer.pairs[:rank])
        counts: dict[tuple[int, int], int] = {}
        for text in texts:
            for word in text.split(" ")[:-1]:
                tokens = before.encode(word + " ")
                for pair in zip(tokens, tokens[1:], strict=False):
                    counts[pair] = counts.get(pair, 0) + 1
        assert tokenizer.pairs[rank] == min(counts, key=lambda pair: (-counts[pair], pair))


def test_a_file_brings_the_same_tokenizer(tmp_path: Path) -> None:
    TOKENIZER.save(tmp_path / "tokenizer.json")
    assert load_tokenizer(tmp_path / "tokenizer.json").pairs == TOKENIZER.pairs
    assert (tmp_path / "tokenizer.json").read_bytes() == (TEXT / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"pairs": 3}', '{"pairs": [[1]]}', '{"pairs": [[256, 1]]}',
                                     '{"pairs": [[-1, 1]]}'])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"bad\.json is no tokenizer"):
        load_tokenizer(path)
