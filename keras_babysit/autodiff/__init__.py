"""Values and gradients of functions of tensors: one file a backend, see `seam`."""
