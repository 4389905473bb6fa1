"""The tab Babysit of TensorBoard, which the entry point in setup.py announces."""
