"""What lies in an output: what was asked, who is at work on it, how far it is, and whether its promises hold."""
