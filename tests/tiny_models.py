"""Models with a few channels and weights by chance, which train in seconds."""

import contextlib
import io

import torch


def tiny_sevennet(file, elements=("Al",), seed=0):
    """Write an untrained SevenNet of two layers with four channels."""
    import sevenn
    import sevenn._keys as KEY  # noqa: N812
    from sevenn import _const
    from sevenn.model_build import build_E3_equivariant_model
    from sevenn.parse_input import init_model_config

    torch.manual_seed(seed)
    config = init_model_config(
        {
            KEY.CHEMICAL_SPECIES: list(elements), KEY.CUTOFF: 4.5, KEY.NODE_FEATURE_MULTIPLICITY: 4, KEY.LMAX: 1,
            KEY.NUM_CONVOLUTION: 2, KEY.CONVOLUTION_WEIGHT_NN_HIDDEN_NEURONS: [16], KEY.IS_PARITY: False,
            KEY.SELF_CONNECTION_TYPE: "linear",
        }
    )  # fmt: skip
    config |= {**_const.DEFAULT_TRAINING_CONFIG, **_const.DEFAULT_DATA_CONFIG}
    config |= {KEY.SHIFT: 0.0, KEY.SCALE: 0.5, KEY.CONV_DENOMINATOR: [12.0] * 2, "version": sevenn.__version__}
    model = build_E3_equivariant_model(config)
    content = {"model_state_dict": model.state_dict(), "config": config, "epoch": 0, "time": "-", "hash": "-"}
    torch.save(content | {"optimizer_state_dict": {}, "scheduler_state_dict": {}}, file)
    return file


def tiny_chgnet(file, seed=0):
    """Write an untrained CHGNet of two layers with eight channels."""
    from chgnet.model import CHGNet

    torch.manual_seed(seed)
    with contextlib.redirect_stdout(io.StringIO()):  # it prints its size
        model = CHGNet(
            atom_fea_dim=8, bond_fea_dim=8, angle_fea_dim=8, n_conv=2, atom_conv_hidden_dim=8, bond_conv_hidden_dim=8,
            mlp_hidden_dims=(8,), atom_graph_cutoff=4.5, bond_graph_cutoff=3.0,
        )  # fmt: skip
    torch.save({"model": model.as_dict()}, file)
    return file
