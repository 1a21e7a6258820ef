"""Parts of tools/train_demo.py: the demo model's text, tokenizer, network, optimizer and evaluation."""
