import math

import goldens
import pytest
import torch

from molae_pyg.nn import SinusoidalPosition


@pytest.mark.parametrize("channels", [64, 512])
def test_recorded_table(channels):
    """Row p of the table is position p; row 0 is padding, which no token has."""
    table = goldens.arrays("positional")[f"pe{channels}"]
    position = torch.arange(1, len(table))
    encoding = SinusoidalPosition(channels)(position)
    torch.testing.assert_close(encoding, table[1:], atol=1e-5, rtol=0)
    assert torch.all(table[0] == 0)


def test_recorded_batch():
    """CLS is position 1, atoms count on, SEP is the last, and padding has none."""
    recorded = goldens.arrays("positional")
    tokens, table = recorded["tokens"], recorded["pe64_on_batch"]
    real = tokens != 0
    encoding = SinusoidalPosition(64)(real.cumsum(1)) * real[..., None]
    torch.testing.assert_close(encoding, table, atol=1e-5, rtol=0)


def test_by_hand():
    encoding = SinusoidalPosition(6)(torch.tensor([3]))  # frequencies 1, 1/100, 1/10000
    angles = [3.0, 0.03, 0.0003]
    expected = [*map(math.sin, angles), *map(math.cos, angles)]
    assert encoding[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_shapes_buffer_and_repr():
    layer = SinusoidalPosition(8)
    assert layer(torch.zeros(2, 3, dtype=torch.long)).shape == (2, 3, 8)
    assert not layer.state_dict()
    assert str(layer) == "SinusoidalPosition(8)"


@pytest.mark.parametrize("channels", [2, 7])
def test_impossible_width(channels):
    with pytest.raises(ValueError, match=f"even and at least 4, not {channels}"):
        SinusoidalPosition(channels)
