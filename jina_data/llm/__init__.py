"""Sends requests to an LLM behind an OpenAI-compatible server: online or in batches, within rate limits and a budget.

No module here imports a task. A task passes its prompts as objects that fulfil `dialect.Prompt`.
"""
