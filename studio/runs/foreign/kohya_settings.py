"""What the settings of kohya's sd-scripts, its GUI and SD-Trainer are called here, and why some have no counterpart."""

from typing import Any

from studio.language import say

RENAMED = {
    "train_batch_size": "batch_size",
    "batch_size": "batch_size",
    "network_dropout": "lora_dropout",
    "enable_bucket": "enable_bucket",
    "flip_aug": "random_flip",
    "num_repeats": "num_repeats",
    "caption_dropout_rate": "caption_dropout",
    "caption_prefix": "caption_prefix",
    "caption_suffix": "caption_suffix",
    "shuffle_caption": "shuffle_tags",
    "keep_tokens": "keep_tokens",
    "gradient_checkpointing": "gradient_checkpointing",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "mixed_precision": "mixed_precision",
    "max_grad_norm": "max_grad_norm",
    "min_snr_gamma": "snr_gamma",
    "noise_offset": "noise_offset",
    "ip_noise_gamma": "ip_noise_gamma",
    "prior_loss_weight": "prior_weight",
    "zero_terminal_snr": "zero_terminal_snr",
    "masked_loss": "masked_loss",
    "alpha_mask": "masked_loss",
    "save_every_n_steps": "save_steps",
    "sample_every_n_steps": "sample_steps",
    "seed": "seed",
    "timestep_sampling": "timestep_sampling",
    "discrete_flow_shift": "flow_shift",
}
"""Theirs → ours, where only the name differs. Ours may not be there yet; then the setting has no counterpart."""

OPTIMIZERS = {
    "adamw": ("adamw",),
    "adamw8bit": ("adamw_8bit", "adamw8bit", "adamw"),
    "pagedadamw8bit": ("adamw_8bit", "adamw8bit", "adamw"),
    "pagedadamw": ("adamw",),
    "adam": ("adamw",),
    "lion": ("lion",),
    "lion8bit": ("lion_8bit", "lion8bit", "lion"),
    "pagedlion8bit": ("lion_8bit", "lion8bit", "lion"),
    "adafactor": ("adafactor",),
    "prodigy": ("prodigy",),
    "dadaptation": ("dadaptation", "dadapt_adam", "prodigy"),
    "dadaptadam": ("dadaptation", "dadapt_adam", "prodigy"),
    "dadaptadampreprint": ("dadaptation", "dadapt_adam", "prodigy"),
    "dadaptlion": ("dadaptation", "dadapt_lion", "prodigy"),
    "adamwschedulefree": ("schedule_free", "schedulefree", "adamw_schedulefree"),
    "sgdnesterov": ("sgd",),
}
"""Their optimizer → ours, the nearest first."""

FIND_THEIR_RATE = frozenset({"prodigy", "dadaptation", "dadaptadam", "dadaptadampreprint", "dadaptlion"})
"""A learning rate of 1 means for these what 1e-4 means for others."""

SCHEDULERS = {
    "constant": ("constant",),
    "constant_with_warmup": ("constant",),
    "linear": ("linear",),
    "cosine": ("cosine",),
    "cosine_with_restarts": ("cosine_with_restarts", "cosine"),
    "cosine_with_min_lr": ("cosine_with_min_lr", "cosine"),
    "polynomial": ("polynomial", "linear"),
    "inverse_sqrt": ("inverse_sqrt", "cosine"),
    "piecewise_constant": ("piecewise_constant", "constant"),
    "adafactor": ("constant",),
    "warmup_stable_decay": ("warmup_stable_decay", "linear"),
}
"""Their scheduler → ours, the nearest first."""

SAME_SCHEDULE = {
    "constant_with_warmup": ("", 0.0),
    "cosine_with_restarts": ("lr_scheduler_num_cycles", 1.0),
    "polynomial": ("lr_scheduler_power", 1.0),
}
"""Schedules that ours equal as long as this setting has this value, which is what they have when it is absent."""

DEFAULTS: dict[str, tuple[str, Any]] = {
    "network_dim": ("lora_rank", 4),
    "network_alpha": ("lora_alpha", 1.0),
    "train_batch_size": ("batch_size", 1),
    "lr_scheduler": ("lr_scheduler", "constant"),
    "caption_dropout_rate": ("caption_dropout", 0.0),
    "enable_bucket": ("enable_bucket", False),
    "max_train_steps": ("max_steps", 1600),
}
"""What sd-scripts does where a file is silent and the studio would do something else."""

OF_THE_DATA = frozenset({"train_batch_size", "caption_dropout_rate", "enable_bucket"})
"""Of these, what the separate file that dataset_config names may say."""

ZERO_IS_UNSET = frozenset({"save_every_n_steps", "sample_every_n_steps"})
"""Where 0 says that epochs are counted instead."""

NEUTRAL = {
    "clip_skip": 1,
    "max_token_length": 75,
    "t5xxl_max_token_length": 512,
    "max_timestep": 1000,
    "loss_type": "l2",
    "train_blocks": "all",
    "num_machines": 1,
    "num_processes": 1,
    "dynamo_backend": "no",
    "save_model_as": "safetensors",
    "log_with": "tensorboard",
}
"""Values that change nothing."""

_FOR_FLOW = """
    timestep_sampling discrete_flow_shift sigmoid_scale model_prediction_type weighting_scheme mode_scale guidance_scale logit_mean logit_std
"""
FOR_FLOW = frozenset(_FOR_FLOW.split())
"""Only means something for families that learn by flow matching."""

FAMILIES = {"sd": "sd", "sdxl": "sdxl", "sd3": "sd3", "flux": "flux", "flux1": "flux", "lumina": "lumina2", "qwen": "qwen_image", "wan": "wan"}
"""Their word for a kind of base model → ours."""

SIGNS = {
    "sdxl": "sdxl",
    "sdxl_checkbox": "sdxl",
    "flux1_checkbox": "flux",
    "sd3_checkbox": "sd3",
    "lumina_checkbox": "lumina",
    "v2": "sd",
    "clip_g": "sd3",
    "ae": "flux",
    "no_half_vae": "sdxl",
}
"""A setting that only one kind of base model has, the surest first."""

BY_DIFFUSION = frozenset({"sd", "sdxl"})

_SILENT = """
    unit constrain decompose_both rank_dropout_scale use_cp use_scalar use_tucker bypass_mode rescaled train_on_input save_as_bool
    block_lr_zero_threshold huber_c huber_schedule huber_scale lr_scheduler_num_cycles lr_restart_cycles lr_scheduler_power multires_noise_discount
    noise_offset_type noise_offset_random_strength ip_noise_gamma_random_strength model_list version author train_type sample_sampler
    log_config v_pred_like_loss split_mode no_half_vae sdxl_no_half_vae cache_text_encoder_outputs_to_disk
    sdxl_cache_text_encoder_outputs flux1_cache_text_encoder_outputs flux1_cache_text_encoder_outputs_to_disk sd3_cache_text_encoder_outputs
    sd3_cache_text_encoder_outputs_to_disk enable_preview scale_v_pred_loss_like_noise_pred negative_prompts sample_width sample_height sample_cfg
    sample_seed sample_steps caption_extension dynamo_mode  train_norm no_token_padding
"""
SILENT = frozenset(_SILENT.split())
"""Only means something beside other settings, or was read with them."""


def reasons() -> dict[str, str]:
    """Their setting → why it isn't taken over, in a sentence."""
    grouped = {
        say("Paths are yours: give them where you train."): """
            pretrained_model_name_or_path train_data_dir reg_data_dir image_dir in_json output_dir logging_dir vae network_weights base_weights resume
            dataset_config ae clip_l clip_g t5xxl tokenizer_cache_dir metadata_file conditioning_data_dir config_file train_folder""",
        say("Keys and tokens are never taken over."): "wandb_api_key huggingface_token",
        say("It is about the machine and its speed; the studio sees to that itself."): """
            xformers sdpa mem_eff_attn lowram lowvram highvram num_cpu_threads_per_process max_data_loader_n_workers persistent_data_loader_workers
            cache_latents cache_latents_to_disk vae_batch_size dynamo_backend dynamo_use_dynamic dynamo_use_fullgraph gpu_ids
            multi_gpu num_processes num_machines main_process_port extra_accelerate_launch_args full_fp16 full_bf16 fp8_base fp8_base_unet
            blocks_to_swap cpu_offload_checkpointing disable_mmap_load_safetensors mem_eff_save skip_cache_check
            ddp_timeout ddp_gradient_as_bucket_view ddp_static_graph async_upload torch_compile fused_backward_pass apply_t5_attn_mask
            num_cpu_threads headless""",
        say("It is about the other program's files and logs."): """
            output_name save_model_as save_precision save_state save_state_on_train_end save_state_to_huggingface save_last_n_steps
            save_last_n_steps_state save_last_n_epochs save_last_n_epochs_state save_n_epoch_ratio no_metadata training_comment log_prefix
            log_tracker_name log_tracker_config wandb_run_name huggingface_repo_id huggingface_repo_type huggingface_repo_visibility
            huggingface_path_in_repo resume_from_huggingface metadata_title metadata_author metadata_description metadata_license metadata_tags
            use_wandb""",
        say("Buckets follow from resolution and the base model here."): """
            min_bucket_reso max_bucket_reso bucket_reso_steps bucket_no_upscale""",
        say("It counts epochs; here it is counted in steps: save_steps."): "save_every_n_epochs",
        say("It counts epochs; here it is counted in steps: sample_steps."): "sample_every_n_epochs",
        say("The text encoders are used as the base model has them."): """
            clip_skip max_token_length t5xxl_max_token_length weighted_captions""",
    }
    return {key: reason for reason, keys in grouped.items() for key in keys.split()}
