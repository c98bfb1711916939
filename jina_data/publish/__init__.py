"""Publish a finished run to the Hugging Face Hub: shards, card, one commit, and a look at what arrived."""
