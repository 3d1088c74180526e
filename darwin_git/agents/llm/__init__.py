"""Language models as agents: prompts, questions, answers, and what they cost."""
