"""The stages on an NVIDIA GPU: the bodies of `tamis.tracking.kernels`, called by one thread per module, point, seed or track."""
