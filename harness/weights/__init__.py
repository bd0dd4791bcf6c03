"""Published checkpoints: where they are, their size, licence and checksum."""
