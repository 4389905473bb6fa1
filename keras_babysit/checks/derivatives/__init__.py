"""The gradient check: derivatives by differences, and which layer is wrong."""
