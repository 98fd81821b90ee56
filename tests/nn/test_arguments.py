import numpy as np
import pytest

from molae_pyg import AblatedMolAE, MolAE, MolAEEncoder
from molae_pyg.models import Ablation
from molae_pyg.nn import PairBias, PairBiasAttention, PairTransformer, PropertyHead

WRONG_SIZES = [0, -1, 2.0, "2", None, True, [2], float("nan")]
SIZES = ["hidden_channels", "ffn_channels", "heads", "num_gaussians"]


@pytest.mark.parametrize("cls", [MolAE, MolAEEncoder])
@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("value", WRONG_SIZES)
def test_sizes_are_positive_integers(cls, name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 1, got"):
        cls(**{"hidden_channels": 8, "ffn_channels": 8, "heads": 2, "num_layers": 1, name: value})


@pytest.mark.parametrize("name", ["num_layers", "num_decoder_layers"])
@pytest.mark.parametrize("value", WRONG_SIZES[1:])
def test_a_stack_may_be_empty_but_not_negative(name, value):
    with pytest.raises(ValueError, match=f"{name} must be an integer of at least 0, got"):
        MolAE(**{"hidden_channels": 8, "ffn_channels": 8, "heads": 2, "num_layers": 1, name: value})
    assert MolAE(8, 8, 2, **{name: 0}).config[name] == 0


@pytest.mark.parametrize("name", ["dropout", "attn_dropout"])
@pytest.mark.parametrize("value", [1, 1.0, -0.1, float("nan"), "0.1", None, True, 10**400])
def test_dropout_is_a_share(name, value):
    with pytest.raises(ValueError, match=rf"{name} must be a number in \[0, 1\), got"):
        MolAE(8, 8, 2, 1, 1, **{name: value})


def test_integers_of_numpy_are_integers():
    model = MolAE(*np.array([8, 8, 2, 1, 1]), num_gaussians=np.int32(4))
    assert all(type(model.config[name]) is int for name in (*SIZES, "num_layers"))


@pytest.mark.parametrize("value", [0, -3, 8.0, "8"])
def test_width_of_the_decoder(value):
    with pytest.raises(ValueError, match="decoder_ffn_channels must be an integer"):
        MolAE(8, 8, 2, 1, 1, decoder_ffn_channels=value)


def test_layers_check_their_own():
    with pytest.raises(ValueError, match="heads must be an integer"):
        PairBiasAttention(8, 0)
    with pytest.raises(ValueError, match="num_gaussians must be an integer"):
        PairBias(2, 0)
    with pytest.raises(ValueError, match="ffn_channels must be an integer"):
        PairTransformer(8, 0, 2, 1)
    with pytest.raises(ValueError, match="num_tasks must be an integer"):
        PropertyHead(8, 0)


@pytest.mark.parametrize("value", ["none", "true", 1, 0, None])
@pytest.mark.parametrize("name", ["drop", "decoder_position"])
def test_ablations_are_real_bools(name, value):
    for make in (lambda: Ablation(**{name: value}), lambda: AblatedMolAE(
        8, 8, 2, 1, 1, ablation={name: value})):  # fmt: skip
        with pytest.raises(ValueError, match=f"{name} must be true or false, got {value!r}"):
            make()


@pytest.mark.parametrize("given", ["none", 3, [("drop", False)], True])
def test_an_ablation_is_a_mapping(given):
    with pytest.raises(TypeError, match="ablation must be a mapping of drop, decoder_position"):
        AblatedMolAE(8, 8, 2, 1, 1, ablation=given)


def test_an_unknown_ablation_names_the_known():
    with pytest.raises(TypeError, match="no 'decoder_pos'; the fields are drop, decoder_position"):
        AblatedMolAE(8, 8, 2, 1, 1, ablation={"decoder_pos": False})
