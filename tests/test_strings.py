"""Parallel strings: every file of the pinned wheel against gettext, cases by hand, refusals."""

import gettext

import pytest

from minilib.lab import data
from minilib.lab.strings import Entry, read_po

BY_HAND = r"""# a comment
msgid ""
msgstr "Language: de\n"

#: forms.py:3
#, python-format
msgctxt "month"
msgid "May"
msgstr ""
"M"
"ai"

msgid "%d \"file\""
msgid_plural ""
"%d \"files\"\n"
msgstr[0] "%d \\ Datei"
msgstr[1] "%d Dateien"
msgid "no gap before"
msgstr ""

#, python-format, fuzzy
#| msgid "Open"
msgid "Close"
msgstr "Öffnen"

#~ msgid "gone"
#~ msgstr "weg"
"""


def test_by_hand(tmp_path):
    expected = [
        Entry("", "", "", ["Language: de\n"], False),
        Entry("month", "May", "", ["Mai"], False),
        Entry("", '%d "file"', '%d "files"\n', ["%d \\ Datei", "%d Dateien"], False),
        Entry("", "no gap before", "", [""], False),
        Entry("", "Close", "", ["Öffnen"], True),
    ]
    path = tmp_path / "django.po"
    for text in (BY_HAND, BY_HAND.replace("\n", "\r\n"), "\ufeff" + BY_HAND):
        path.write_bytes(text.encode())
        assert read_po(path) == expected


def test_a_line_separator_inside_a_string_ends_no_line(tmp_path):
    path = tmp_path / "django.po"
    path.write_text('msgid "a\u2028\x85b"\nmsgstr "c"\n', encoding="utf-8")
    assert read_po(path) == [Entry("", "a\u2028\x85b", "", ["c"], False)]


def test_the_wheels_files_say_what_gettext_reads():
    """The compiled files beside them (.mo) hold what is translated and not fuzzy."""
    folder = data.fetch("Django") / "django"
    files = sorted(folder.glob("c*/**/locale/*/LC_MESSAGES/*.po"))
    assert len(files) == 1226
    for file in files[::5]:
        with open(file.with_suffix(".mo"), "rb") as compiled:
            theirs = gettext.GNUTranslations(compiled)._catalog
        ours = {}
        for entry in read_po(file):
            name = (entry.context + "\4" if entry.context else "") + entry.english
            if any(entry.translations) and not entry.fuzzy:
                for k, translation in enumerate(entry.translations):
                    ours[(name, k) if entry.plural else name] = translation
        ours.setdefault("", "")
        assert {**ours, "": theirs.get("", "")} == {"": "", **theirs}, file


def test_interface_strings():
    strings = data.interface_strings()
    assert len(strings) == 98 and list(strings) == sorted(strings)
    assert strings["de"]["Save"] == "Sichern"
    assert strings["pl"]["%(num)d years"] == "%(num)d roku"  # the last of four forms
    assert min(map(len, strings.values())) == len(strings["fy"]) == 20
    assert sum(len(pairs) >= 550 for pairs in strings.values()) == 73
    assert all(english and translation for pairs in strings.values()
               for english, translation in pairs.items())  # fmt: skip


# -- refused ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text,words",
    [
        ("", "'django.po' is empty"),
        ('msgid "a"\n', "ends inside an entry, after its msgid"),
        ('msgid "a"\nmsgid_plural "b"\n\n', "ends inside an entry, after its msgid_plural"),
        ('msgctxt "a"\n# b\n', "has a comment in line 2 inside an entry, after its msgctxt"),
        ('msgid "a"\nmsgstr "b', "has in line 2 no quoted string: 'msgstr \"b'"),
        ('msgid "a"\nmsgstr "b\\', "has in line 2 no quoted string"),
        ('msgid "a"\nmsgstr "b\\q"', "has in line 2 no quoted string"),
        ('msgid "a"\nmsgstr "b"c"', "has in line 2 no quoted string"),
        ("<html>\n", "has in line 1 no quoted string: '<html>'"),
        ('"a"\n', "has in line 1 a string without a keyword"),
        ('msgstr "a"\n', "has in line 1 msgstr after None"),
        ('msgid "a"\nmsgid "b"\n', "has in line 2 msgid after msgid"),
        ('msgid "a"\nmsgstr[0] "b"\n', r"has in line 2 msgstr\[0\] after msgid"),
        ('msgid "a"\nmsgid_plural "b"\nmsgstr[1] "c"\n', r"has in line 3 msgstr\[1\] after"),
        ('msgid "a"\nmsgstr "b"\nmsgstr "c"\n', "has in line 3 msgstr after msgstr"),
        ('msgid "a"\nmsgid_plural "b"\nmsgstr "c"\n', "has in line 3 msgstr after msgid_plural"),
    ],
)
def test_a_malformed_file_is_refused_by_name(tmp_path, text, words):
    (tmp_path / "django.po").write_text(text)
    with pytest.raises(ValueError, match=words) as error:
        read_po(tmp_path / "django.po")
    assert "django.po" in str(error.value)


def test_a_file_that_is_cut_off_anywhere_is_read_or_refused(tmp_path):
    """Cut inside a line or an entry it is refused; between entries nobody can tell."""
    whole, path = BY_HAND.encode(), tmp_path / "django.po"
    path.write_bytes(whole)
    entries, refused = read_po(path), 0
    for end in range(len(whole)):
        path.write_bytes(whole[:end])
        try:
            found = read_po(path)
        except ValueError as error:
            assert "django.po" in str(error)
            refused += 1
        else:
            assert len(found) <= len(entries)
    assert refused > 200


def test_what_is_no_utf_8_is_refused(tmp_path):
    (tmp_path / "django.po").write_bytes(b'msgid "a"\nmsgstr "\xff"\n')
    with pytest.raises(ValueError, match=r"'django\.po': 'utf-8' codec can't decode byte 0xff"):
        read_po(tmp_path / "django.po")
    with pytest.raises(ValueError, match=r"path must be a readable \.po file; 'none\.po'"):
        read_po(tmp_path / "none.po")
