from __future__ import annotations

import hashlib
import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqkit.errors import InputError
from sqkit.playbook.pseudonyms import KEY_FILE, VARIABLE, pseudonym, pseudonyms, secret_key


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SQKIT_DATA", str(tmp_path / "store"))
    monkeypatch.delenv(VARIABLE, raising=False)
    return tmp_path / "store"


def test_a_pseudonym_is_a_keyed_hash():
    # printf 'M0000001' | openssl dgst -sha256 -hmac 'kkkkkkkkkkkkkkkk' -binary | head -c 10 | base32
    assert pseudonym("M0000001", b"k" * 16) == "PWSQJ76WQUVQI57TR"
    assert pseudonym("M0000001", b"l" * 16) != pseudonym("M0000001", b"k" * 16)


@given(st.text(max_size=20), st.binary(min_size=16, max_size=20))
def test_no_plain_hash_and_no_id_shows(member, key):
    made = pseudonym(member, key)
    assert made[0] == "P" and made.isalnum() and len(made) == 17 and made == pseudonym(member, key)
    assert len(member) < 3 or member not in made
    for name in ("sha256", "sha1", "md5"):
        plain = hashlib.new(name, member.encode("utf-8", "surrogatepass"))
        assert plain.hexdigest()[:16].upper() not in made


def test_a_key_is_made_once_for_its_owner_only(home):
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(lambda _: secret_key(), range(16)))
    assert len(keys) == 1 and len(keys.pop()) == 64
    assert [p.name for p in home.iterdir()] == [KEY_FILE]
    if os.name == "posix":
        assert stat.S_IMODE((home / KEY_FILE).stat().st_mode) == 0o600


@pytest.mark.skipif(os.name != "posix", reason="modes are those of POSIX")
def test_a_key_that_others_can_read_is_refused(home):
    secret_key()
    (home / KEY_FILE).chmod(0o640)
    with pytest.raises(InputError, match="chmod 600"):
        secret_key()


def test_the_environment_goes_before_the_file(home, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "a secret of some length")
    assert secret_key() == b"a secret of some length" and not home.exists()
    (tmp_path / "key").write_text("another secret of length\n", encoding="ascii")
    monkeypatch.setenv(VARIABLE, f"file:{tmp_path / 'key'}")
    assert secret_key() == b"another secret of length" and not home.exists()


def test_a_bad_key_is_named_without_being_shown(home, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, "short-secret")
    with pytest.raises(InputError, match="12 bytes. Allowed: 16") as caught:
        secret_key()
    assert "short-secret" not in str(caught.value)
    monkeypatch.setenv(VARIABLE, f"file:{tmp_path / 'none'}")
    with pytest.raises(InputError, match="cannot be read"):
        secret_key()


def test_pseudonyms_are_distinct():
    made = pseudonyms((f"M{i:07}" for i in range(20_000)), b"k" * 16)
    assert len(set(made.values())) == 20_000
