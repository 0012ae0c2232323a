"""How the demo model learns: prompts about scenes, the first weights, the forward pass and its losses."""
