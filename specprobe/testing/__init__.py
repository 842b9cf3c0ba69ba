"""What tests of specprobe, and of code built on it, share: models and fakes with known answers."""
