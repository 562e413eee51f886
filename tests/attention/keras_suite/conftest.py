"""No test of Keras's is skipped without standing in this table."""

import keras
import pytest

SKIPPED_ON_TENSORFLOW = {
    "MultiHeadAttentionTest.test_basics_with_flash_attention": "flash attention has no TensorFlow",
    "MultiHeadAttentionTest.test_flash_attention_with_errors": "flash attention has no TensorFlow",
    "GroupedQueryAttentionTest.test_basics_with_flash_attention": (
        "flash attention has no TensorFlow"
    ),
    "GroupedQueryAttentionTest.test_flash_attention_with_errors": (
        "flash attention has no TensorFlow"
    ),
}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    skipped = report.skipped and not hasattr(report, "wasxfail")
    name = f"{item.parent.name}.{item.name}"
    listed = keras.backend.backend() == "tensorflow" and name in SKIPPED_ON_TENSORFLOW
    if skipped and not listed:
        report.outcome = "failed"
        report.longrepr = f"{name} was skipped, and SKIPPED_ON_TENSORFLOW does not list it."
    elif listed and report.when == "call" and report.passed:
        report.outcome = "failed"
        report.longrepr = f"{name} ran: take it out of SKIPPED_ON_TENSORFLOW."
    return report
