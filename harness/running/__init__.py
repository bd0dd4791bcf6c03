"""What each command starts: a run, a training, a look at the machine."""
