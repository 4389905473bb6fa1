"""What a loss and the penalties beside it come to: at chance, at best, now."""
