"""What operators see and steer: the command line, the page, and the truth behind both."""
