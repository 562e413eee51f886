"""Sets of tensorflow-datasets that are not there are refused at once, in one line."""

import pytest

from attention_apps.running import datasets
from attention_apps.running.command import UserError
from attention_apps.running.datasets import named_builder, prepare


class Set:
    """A builder that counts how often it is prepared."""

    class info:
        full_name = "toys/1.0.0"

    data_path = "somewhere"

    def __init__(self, prepared):
        self._prepared = prepared
        self.asked = 0

    def is_prepared(self):
        return self._prepared

    def download_and_prepare(self):
        self.asked += 1


def test_a_name_that_no_set_has_is_refused(tmp_path):
    with pytest.raises(UserError) as refusal:
        named_builder("no_such_set", str(tmp_path), expected="generated or files")
    assert str(refusal.value) == "--dataset must be generated or files. Received: no_such_set"


@pytest.mark.parametrize(
    ("prepared", "downloads", "online", "refused"),
    [
        (True, True, False, False),
        (False, False, False, False),
        (False, True, True, False),
        (False, True, False, True),
    ],
)
def test_only_a_download_needs_a_network(monkeypatch, capsys, prepared, downloads, online, refused):
    monkeypatch.setattr(datasets, "online", lambda host: online)
    builder = Set(prepared)
    if refused:
        with pytest.raises(UserError, match=r"toys/1\.0\.0 is not prepared in somewhere"):
            prepare(builder, downloads=downloads)
    else:
        prepare(builder, downloads=downloads)
    assert builder.asked == (not refused)
    assert ("once" in capsys.readouterr().out) == (not prepared and not refused)
