"""Phi-3's architecture, trained here and run by transformers' Phi3ForCausalLM: same parameter names, same sums.

Letters: B sequences, T tokens, D width, H query heads, G kv heads, E head width, F feed-forward width, V vocabulary.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.heads, self.kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
        self.head_width = config["hidden_size"] // self.heads
        self.window = config["sliding_window"]  # keys visible, the token itself included
        rows = (self.heads + 2 * self.kv_heads) * self.head_width
        self.qkv_proj = nn.Linear(config["hidden_size"], rows, bias=False)  # [(H + 2G) E, D]
        self.o_proj = nn.Linear(config["hidden_size"], config["hidden_size"], bias=False)

    def forward(self, x, cos, sin, mask):
        B, T, D = x.shape
        split = [self.heads + self.kv_heads, self.kv_heads]
        qkv = self.qkv_proj(x).view(B, T, sum(split), self.head_width).transpose(1, 2)  # [B, H + 2G, T, E]
        qk, v = qkv.split(split, dim=1)
        half = self.head_width // 2
        qk = qk * cos + torch.cat((-qk[..., half:], qk[..., :half]), dim=-1) * sin
        q, k = qk.split([self.heads, self.kv_heads], dim=1)
        k, v = (t.repeat_interleave(self.heads // self.kv_heads, dim=1) for t in (k, v))
        W = self.window
        out = F.scaled_dot_product_attention(q[:, :, :W], k[:, :, :W], v[:, :, :W], is_causal=True)
        for start in range(W, T, W):  # a block of W queries sees its own block and the one before
            rows, cols = slice(start, start + W), slice(start - W, start + W)
            band = mask[: min(W, T - start), : min(2 * W, T - start + W)]
            block = F.scaled_dot_product_attention(q[:, :, rows], k[:, :, cols], v[:, :, cols], attn_mask=band)
            out = torch.cat((out, block), dim=2)
        return self.o_proj(out.transpose(1, 2).reshape(B, T, D))


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_up_proj = nn.Linear(config["hidden_size"], 2 * config["intermediate_size"], bias=False)  # [2F, D]
        self.down_proj = nn.Linear(config["intermediate_size"], config["hidden_size"], bias=False)

    def forward(self, x):
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return self.down_proj(up * F.silu(gate))


class Block(nn.Module):
    def __init__(self, config):
        super().__init__()
        norm = lambda: nn.RMSNorm(config["hidden_size"], eps=config["rms_norm_eps"])
        self.input_layernorm, self.post_attention_layernorm = norm(), norm()
        self.self_attn, self.mlp = Attention(config), Mlp(config)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.mlp(self.post_attention_layernorm(x))


class Backbone(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_tokens = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList(Block(config) for _ in range(config["num_hidden_layers"]))
        self.norm = nn.RMSNorm(config["hidden_size"], eps=config["rms_norm_eps"])


class Network(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = Backbone(config)
        self.lm_head = nn.Linear(config["hidden_size"], config["vocab_size"], bias=False)
        self._initialize()
        head_width = config["hidden_size"] // config["num_attention_heads"]
        frequency = config["rope_theta"] ** (-torch.arange(0, head_width, 2).float() / head_width)
        angle = torch.outer(torch.arange(config["max_position_embeddings"]).float(), frequency)
        angle = torch.cat((angle, angle), dim=-1)  # [N, E]
        W = config["sliding_window"]
        behind = torch.arange(W)[:, None] + W - torch.arange(2 * W)[None, :]
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        self.register_buffer("band", (behind >= 0) & (behind < W), persistent=False)  # bool[W, 2W]

    def _initialize(self):
        """Rows of unit size in, nothing out: residual branches and the head start at zero."""
        for name, weight in self.named_parameters():
            if name.endswith(("o_proj.weight", "down_proj.weight", "lm_head.weight")):
                nn.init.zeros_(weight)
            elif name.endswith("embed_tokens.weight"):
                nn.init.normal_(weight, std=0.5)
            elif weight.ndim == 2:
                nn.init.normal_(weight, std=math.sqrt(1 / weight.shape[1]) * 0.7)

    def forward(self, ids):
        """ids: int64[B, T] -> hidden states f32[B, T, D], normed, before the head."""
        T = ids.shape[1]
        x = self.model.embed_tokens(ids)
        for layer in self.model.layers:
            x = layer(x, self.cos[:T], self.sin[:T], self.band)
        return self.model.norm(x)

    def loss(self, ids, targets):
        """Mean cross entropy in nats over targets: int64[B, T]."""
        logits = self.lm_head(self(ids))
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())
