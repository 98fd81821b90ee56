"""Progress bars are for a terminal; a log file stays small."""

from chains import molecules, predictor

from molae_pyg.training import Finetuning, finetune, predict


def test_no_bar_where_there_is_no_terminal(tmp_path, capfd):
    model = predictor()
    finetune(
        model, molecules(8), molecules(4, seed=1), tmp_path, Finetuning(epochs=2, batch_size=4)
    )
    predict(model, molecules(4))
    out, err = capfd.readouterr()
    assert "fine-tuning" not in err
    assert "it/s" not in err
    assert out == ""
