"""The training loop. Its schedule runs on spent time (or on steps), so it always ends annealed.

Progress p in [0, 1): warm-up to 0.01, full rate to 0.4, then linear to zero. Rows have T = context / 2 tokens up
to p = 0.5, then T = context: the sliding window binds only in the second part.
"""

import math
import os
import time

import torch

from . import checkpoint, optimizer


def rate(progress):
    return min(1.0, progress / 0.01 + 0.02, (1 - progress) / 0.6)


class Threads:
    """Chooses 1 .. most threads by what a step costs now: beside other work two threads can be slower than one."""

    def __init__(self, most):
        self.seconds, self.steps = {n: None for n in range(1, most + 1)}, 0

    def choose(self):
        self.steps += 1
        untried = [n for n, s in self.seconds.items() if s is None]
        best = untried[0] if untried else min(self.seconds, key=self.seconds.get)
        probe = 1 + self.steps // 12 % len(self.seconds)
        self.count = probe if self.steps % 12 == 0 else best
        torch.set_num_threads(self.count)

    def measured(self, seconds):
        old = self.seconds[self.count]
        self.seconds[self.count] = seconds if old is None else 0.5 * old + 0.5 * seconds


def _report(state, loss, progress, threads):
    minutes = state["seconds"] / 60
    print(f"step {state['step']} progress {progress:.3f} minutes {minutes:.1f} tokens {state['tokens'] / 1e6:.2f}M "
          f"loss {loss:.4f} nats/token, {threads.count} threads", flush=True)


def train(network, batches, args):
    """args: minutes, steps, tokens_per_step, context, checkpoints, resume, device, fused, save_minutes."""
    optimizers = optimizer.make_optimizers(network, network.config, fused=True)
    for o in optimizers:
        for group in o.param_groups:
            group["full"] = group["lr"]
    state = {"step": 0, "seconds": 0.0, "tokens": 0}
    last = os.path.join(args.checkpoints, "last.pt")
    if args.resume and os.path.exists(last):
        state = checkpoint.load(last, network, optimizers)
        print(f"resumed at step {state['step']}, {state['seconds'] / 60:.1f} minutes spent", flush=True)
    threads = Threads(args.threads)
    losses, saved, stable_saved = [], state["seconds"], False
    while True:
        began = time.monotonic()
        progress = state["step"] / args.steps if args.steps else state["seconds"] / (60 * args.minutes)
        if progress >= 1:
            break
        T = args.context // 2 if progress < 0.5 else args.context
        threads.choose()
        ids = torch.from_numpy(batches(state["step"], args.tokens_per_step // T, T)).to(args.device)
        loss = network.loss(ids[:, :-1], ids[:, 1:])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for o in optimizers:
            for group in o.param_groups:
                group["lr"] = group["full"] * rate(progress)
            o.step()
            o.zero_grad(set_to_none=True)
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise SystemExit(f"loss is {losses[-1]} at step {state['step']}: lower the rates or check the text")
        spent = time.monotonic() - began
        threads.measured(spent)
        state = {"step": state["step"] + 1, "seconds": state["seconds"] + spent, "tokens": state["tokens"] + ids.numel()}
        if state["step"] % 20 == 0:
            _report(state, sum(losses) / len(losses), progress, threads)
            losses = []
        if state["seconds"] - saved > 60 * args.save_minutes:
            checkpoint.save(last, network, optimizers, state)
            saved = state["seconds"]
        if not stable_saved and 0.38 < progress < 0.40:  # the last state before the rate falls: longer runs start here
            checkpoint.save(os.path.join(args.checkpoints, "stable.pt"), network, optimizers, state)
            stable_saved = True
    checkpoint.save(last, network, optimizers, state)
    return state
