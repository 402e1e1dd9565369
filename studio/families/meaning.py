"""Which settings mean something for which family, known without opening any of its libraries: the form shows these, a run takes no others."""

PICTURES = frozenset({"masked_loss", "unmasked_weight", "prior_data_dir", "prior_prompt", "prior_weight", "ip_noise_gamma"})
UNET = PICTURES | {"prediction_type", "zero_terminal_snr", "snr_gamma", "noise_offset", "train_text_encoder", "text_encoder_lr", "conv_rank"}
FLOW = PICTURES | {"timestep_sampling", "flow_shift"}
FAMILIES = {"sd": UNET, "sdxl": UNET}


def settings(family: str) -> frozenset[str]:
    """Those of the settings that aren't for each family which are for this one: a flow's, unless it is said above."""
    return FAMILIES.get(family, FLOW)
