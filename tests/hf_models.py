"""Hugging Face models for tests, made on the spot."""

from __future__ import annotations

from pathlib import Path

import torch

TEXT = "red green blue white black grey pink brown"


def write_model(folder: Path, kind: str = "gpt2", *, bos: bool = True) -> Path:
    """A tiny random model, GPT-2 with its 16 positions or a Llama, and a tokenizer of whole words."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    words = ["<unk>", "<s>", *TEXT.split()]
    tokenizer = Tokenizer(models.WordLevel({word: at for at, word in enumerate(words)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", **({"bos_token": "<s>"} if bos else {})
    ).save_pretrained(folder)
    torch.manual_seed(0)
    shape = {"vocab_size": len(words), "bos_token_id": 1, "eos_token_id": 1}
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_positions=16, n_embd=16, n_layer=2, n_head=2, **shape))
    else:
        config = LlamaConfig(
            max_position_embeddings=16,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            **shape,
        )
        model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.5)
    model.save_pretrained(folder)
    return folder
