"""The texts that the language example learns from: lines become paragraphs, and nothing held out is learnt."""

from collections.abc import Iterator

import pytest

from tests.examples import TEXT, example_module

corpus = example_module(TEXT, "corpus")
LONG = "A line of this length goes on in the one that follows,"


@pytest.mark.parametrize("text, expected", [
    (f"{LONG}\nas here.", f"{LONG} as here."),
    (f"{LONG}\n{LONG}\nand here.", f"{LONG} {LONG} and here."),
    ("A short line\nends.", "A short line\nends."),
    (f"{LONG}\n   but not with another indent.", f"{LONG}\n   but not with another indent."),
    (f"* {LONG}\n  as in lists,\n* {LONG}", f"* {LONG} as in lists,\n* {LONG}"),
    (f"{LONG}\n- where items start.", f"{LONG}\n- where items start."),
    (f"{LONG}\n1. with a number.", f"{LONG}\n1. with a number."),
    (f"{LONG} hyphen-\nated", f"{LONG} hyphen-ated"),
    (f"{LONG}\n>>> print(1)", f"{LONG}\n>>> print(1)"),
    (f"value = the_first_of_very_many_arguments_and_the_rest\n{LONG}",
     f"value = the_first_of_very_many_arguments_and_the_rest\n{LONG}"),
    ("a\n+---+---+\n| x | y |\n+===+===+\n*******\nb", "a\nb"),
    ("\n\na\n\n\n\nb  \n\n", "a\n\nb"),
])
def test_lines_of_a_paragraph_become_one(text: str, expected: str) -> None:
    assert corpus.unwrapped(text) == expected


def test_what_was_before_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    same = "This paragraph is in both of them, and it is long."
    first = corpus.Document("first", (f"{same}\n\nNote:\n\nOnly the first document has this paragraph.",))
    second = corpus.Document("second", (same, f"{same}\n\nNote:\n\nOnly the second document has this paragraph."))
    monkeypatch.setattr(corpus, "topics", lambda: iter([first]))
    monkeypatch.setattr(corpus, "docstrings", lambda: iter([second, corpus.Document("third", (same,))]))
    documents = corpus.documents()
    assert documents[0] == first
    assert documents[1:] == [corpus.Document("second", ("Note:\n\nOnly the second document has this paragraph.",))]


def test_every_twentieth_document_is_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def topics() -> Iterator[object]:
        for number in range(45):
            yield corpus.Document(f"{number}", (f"Document {number} is long enough to be learnt from.",))

    monkeypatch.setattr(corpus, "topics", topics)
    monkeypatch.setattr(corpus, "docstrings", lambda: iter(()))
    texts, held_out = corpus.split()
    assert [text.split()[1] for text in held_out] == ["19", "39"]
    assert len(texts) == 43 and not set(texts) & set(held_out)


def test_docstrings_come_in_the_order_of_their_lines(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "test").mkdir()
    (tmp_path / "b" / "c.py").write_text('raise SystemExit\ndef f():\n    """First\n       line."""\nclass C:\n'
                                         '    """Second."""\n    async def g(self):\n        "Third."\nx = 1\n')
    (tmp_path / "a.py").write_text('"""Module."""\ndef f():\n    """Function."""\n')
    (tmp_path / "broken.py").write_text("def (\n")
    (tmp_path / "test" / "d.py").write_text('"""Left out."""')
    (tmp_path / "test_e.py").write_text('"""Left out."""')
    monkeypatch.setattr(corpus.sysconfig, "get_path", lambda name: str(tmp_path))
    found = [document for document in corpus.docstrings() if document.texts]
    assert found == [corpus.Document("a.py", ("Module.", "Function.")),
                     corpus.Document("b/c.py", ("First\nline.", "Second.", "Third."))]


def test_the_manual_has_no_headings() -> None:
    documents = {document.name: document.texts[0] for document in corpus.topics()}
    assert len(documents) > 50
    assert documents["lists"].lstrip().startswith("A list display is")
    assert list(documents) == sorted(documents)
