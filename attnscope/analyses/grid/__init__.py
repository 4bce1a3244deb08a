"""Several plans in one run: the same noise and the same prompts, plan by plan, and what each costs."""
