"""What a command sets going: a run, a training, a look at the machine."""
