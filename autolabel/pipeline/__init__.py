"""Steps 1 to 6 on Ray. Imports nothing: the actor of the heartbeat comes through here, and does without torch."""
