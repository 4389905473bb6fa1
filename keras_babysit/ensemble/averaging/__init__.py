"""One model of averaged weights."""
