"""Asks an LLM behind an OpenAI-compatible server: online or in batches, within rate limits and a budget."""
