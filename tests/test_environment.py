import pytest

from molae_pyg import environment
from molae_pyg.environment import processor_name, processor_vendor


@pytest.fixture(autouse=True)
def asked_anew():
    processor_name.cache_clear()
    processor_vendor.cache_clear()
    yield
    processor_name.cache_clear()
    processor_vendor.cache_clear()


@pytest.mark.parametrize(
    ("cpuinfo", "name"),
    [
        (
            "vendor_id\t: GenuineIntel\nmodel name\t: Xeon: Gold\nmodel name\t: other\n",
            "Xeon: Gold",
        ),
        ("Processor\t: 0\n", "what Python says"),  # an ARM processor has no such line
        (None, "what Python says"),  # another system has no such file
    ],
)
def test_name(monkeypatch, tmp_path, cpuinfo, name):
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(cpuinfo)
    monkeypatch.setattr(environment, "Path", lambda _: file)
    monkeypatch.setattr(environment.platform, "processor", lambda: "what Python says")
    assert processor_name() == name


def test_the_architecture_is_better_than_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(environment, "Path", lambda _: tmp_path / "none")
    monkeypatch.setattr(environment.platform, "processor", lambda: "")
    monkeypatch.setattr(environment.platform, "machine", lambda: "aarch64")
    assert processor_name() == "aarch64"


@pytest.mark.parametrize(
    ("cpuinfo", "vendor"),
    [("vendor_id\t: AuthenticAMD\nmodel name\t: EPYC\n", "AuthenticAMD"), ("", ""), (None, "")],
)
def test_vendor(monkeypatch, tmp_path, cpuinfo, vendor):
    file = tmp_path / "cpuinfo"
    if cpuinfo is not None:
        file.write_text(cpuinfo)
    monkeypatch.setattr(environment, "Path", lambda _: file)
    assert processor_vendor() == vendor
